"""What a hostile workspace could gain from an admin who inspects it: nothing of the admin's, and nothing that stays."""

from __future__ import annotations

import pytest

from clawloops.control.inspections import Inspections
from clawloops.web import cookies
from tests.web.box import Box
from tests.web.door import Asked, Line, status_of
from tests.web.test_inspections import Case, _case

pytestmark = pytest.mark.attacks


@pytest.fixture
async def case(box: Box) -> Case:
    mia = await box.member("mia")
    return await _case(box, mia, await box.workspace(mia))


async def test_a_page_of_a_workspace_cannot_write_into_the_audit_in_an_admins_name(case: Case) -> None:
    """`<img src="//dash/handover?host=mia…">` on any workspace that the admin has open; cookies are same-site."""
    before = len(await case.box.audit.latest(500))
    for _ in range(40):
        path = f"/handover?host={case.host}&challenge={'0' * 64}&to=/"
        reply = await case.box.ask(
            "GET",
            path,
            headers={
                "Cookie": f"{cookies.SESSION}={case.token}",
                "Sec-Fetch-Site": "same-site",
                "Sec-Fetch-Mode": "no-cors",
                "Sec-Fetch-Dest": "image",
            },
        )
        assert reply.status == 403
    assert len(await case.box.audit.latest(500)) == before


async def test_an_admins_other_cookies_do_not_reach_a_members_runtime(case: Case) -> None:
    """A single sign-on of the same home (`Domain=home.example`) is sent along by the browser, HttpOnly or not."""

    await case.open()
    cookie = await case.enter()
    door = Line(case.box.auth_port)
    raw = Asked(case.runtime.id, case.host, cookie).raw()
    own = f"{cookies.WORKSPACE}={cookie}"
    raw = raw.replace(own.encode(), f"{own}; authelia_session=s3cr3t".encode())
    (answer,) = await door.ask(raw)
    assert status_of(answer) == 200 and b"s3cr3t" not in answer
    door.close()


async def test_an_admins_browser_takes_no_service_worker_from_an_inspected_workspace(case: Case) -> None:
    await case.open()
    cookie = await case.enter()
    door = Line(case.box.auth_port)
    raw = Asked(case.runtime.id, case.host, cookie).raw().replace(b"\r\n\r\n", b"\r\nService-Worker: script\r\n\r\n", 1)
    (answer,) = await door.ask(raw)
    assert status_of(answer) == 403
    door.close()


@pytest.mark.parametrize("kilobytes", [6, 12, 100])
async def test_cookies_that_a_workspaces_page_sets_for_the_whole_domain_do_not_lock_an_admin_out(
    case: Case, kilobytes: int
) -> None:
    more = "; ".join(f"x{n}={'y' * 1000}" for n in range(kilobytes))
    reply = await case.box.ask("GET", "/", headers={"Cookie": f"{cookies.SESSION}={case.token}; {more}"})
    assert reply.status == 200


async def test_a_clock_set_back_over_a_restart_gives_no_time_again(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    await case.open(minutes="240")
    (made,) = case.box.inspections.concerning(case.mia.id)
    late = made.opened_at + 239 * 60_000
    await case.box.inspections.note_entry(made, at=late)  # in use at 3:59
    monkeypatch.setattr("clawloops.control.inspections.now_ms", lambda: made.opened_at + 60_000)
    again = Inspections(case.box.db, case.box.accounts, case.box.sessions, case.box.audit)
    await again.load()
    (found,) = again._open.values()
    assert not again.holds(found)

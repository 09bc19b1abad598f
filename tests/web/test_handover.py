"""From the dashboard into a workspace: the whole way of a browser, and every way to abuse it."""

from __future__ import annotations

from urllib.parse import parse_qs, quote, urlsplit

import pytest

from clawloops.control import handover
from clawloops.model.account import User
from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.web import cookies
from tests.web.box import NAVIGATE, Box, cookie_of

Visit = tuple[User, Runtime, str, str]


@pytest.fixture
async def visit(box: Box) -> Visit:
    """Mia, her workspace, its host, and her dashboard cookie."""
    mia = await box.member("mia")
    runtime = await box.workspace(mia, Phase.BOOT)
    token, _ = await box.signed_in(mia)
    return mia, runtime, box.site.workspace_host(runtime.slug), token


async def begin(box: Box, host: str, path: str = "/chat?session=main") -> tuple[str, str]:
    """A first navigation: the state cookie, and the dashboard path it leads to."""
    reply = await box.page(path, host=host)
    target = urlsplit(reply.headers["Location"])
    assert reply.status == 302 and f"{target.scheme}://{target.netloc}" == box.site.origin
    return cookie_of(reply, cookies.STATE), f"{target.path}?{target.query}"


async def code_for(box: Box, host: str, token: str) -> tuple[str, str]:
    state, path = await begin(box, host)
    reply = await box.page(path, token)
    assert reply.status == 303
    return state, urlsplit(reply.headers["Location"]).query


async def redeem(box: Box, host: str, query: str, state: str | None) -> tuple[int, str, str]:
    headers = {**NAVIGATE, **({"Cookie": f"{cookies.STATE}={state}"} if state else {})}
    reply = await box.ask("GET", f"/.clawloops/cb?{query}", host=host, headers=headers)
    return reply.status, reply.headers.get("Location", ""), cookie_of(reply, cookies.WORKSPACE)


async def test_a_browser_comes_in_and_lands_where_it_wanted_to(box: Box, visit: Visit) -> None:
    _, _, host, token = visit
    state, query = await code_for(box, host, token)
    status, location, cookie = await redeem(box, host, query, state)
    assert (status, location) == (303, "/chat?session=main") and len(cookie) == 43
    waiting = await box.page(location, cookie, host=host)
    assert waiting.headers["Location"].endswith("/.clawloops/waking?to=/chat%3Fsession%3Dmain")
    page = await box.page("/.clawloops/waking?to=/chat%3Fsession%3Dmain", cookie, host=host)
    assert page.status == 200 and "waking up" in await page.text()


async def test_without_a_dashboard_session_the_way_leads_over_sign_in(box: Box, visit: Visit) -> None:
    _, path = await begin(box, visit[2])
    reply = await box.page(path)
    assert reply.headers["Location"] == f"/sign-in?next={quote(path, safe='/')}"


@pytest.mark.attacks(12)
async def test_a_code_is_good_once(box: Box, visit: Visit) -> None:
    _, _, host, token = visit
    state, query = await code_for(box, host, token)
    assert (await redeem(box, host, query, state))[0] == 303
    assert (await redeem(box, host, query, state))[::2] == (410, "")


@pytest.mark.attacks(12)
async def test_a_code_for_another_browser_is_refused_and_spent(box: Box, visit: Visit) -> None:
    _, _, host, token = visit
    state, query = await code_for(box, host, token)
    assert (await redeem(box, host, query, handover.new_state()[0]))[::2] == (403, "")
    assert (await redeem(box, host, query, state))[::2] == (410, "")
    state, query = await code_for(box, host, token)
    assert (await redeem(box, host, query, None))[::2] == (403, "")


@pytest.mark.attacks(12)
async def test_a_code_is_refused_on_another_host(box: Box, visit: Visit) -> None:
    other = await box.workspace(await box.member("ben"))
    state, query = await code_for(box, visit[2], visit[3])
    assert (await redeem(box, box.site.workspace_host(other.slug), query, state))[::2] == (403, "")


@pytest.mark.attacks(12)
async def test_an_expired_code_is_refused(box: Box, visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "CODE_VALID_MS", -1)
    state, query = await code_for(box, visit[2], visit[3])
    assert (await redeem(box, visit[2], query, state))[::2] == (410, "")


@pytest.mark.attacks(12)
async def test_signing_out_in_between_ends_it(box: Box, visit: Visit) -> None:
    state, query = await code_for(box, visit[2], visit[3])
    await box.send("/sign-out", visit[3])
    assert (await redeem(box, visit[2], query, state))[::2] == (401, "")


@pytest.mark.attacks(12)
async def test_nobody_gets_a_code_for_somebody_elses_workspace(box: Box, visit: Visit) -> None:
    ben, _ = await box.signed_in(await box.member("ben"))
    _, path = await begin(box, visit[2])
    assert (await box.page(path, ben)).status == 403


@pytest.mark.attacks(12)
@pytest.mark.parametrize(
    "path",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/%0d%0aX: y",
        "",
        "/\tevil",
        "/.clawloops/cb?x",
        "/..//evil.example",
        "/%2e//evil.example",
    ],
)
async def test_no_hand_over_leads_away_from_the_workspace(box: Box, visit: Visit, path: str) -> None:
    _, _, host, token = visit
    state, query = await code_for(box, host, token)
    code = parse_qs(query)["code"][0]
    status, location, cookie = await redeem(box, host, f"code={code}&to={quote(path)}", state)
    assert (status, location, cookie) == (400, "", "")
    _, asked = await begin(box, host)
    doctored = asked.split("&to=")[0] + f"&to={quote(path)}"
    assert (await box.page(doctored, token)).status == 400


async def test_a_visit_wakes_a_stopped_workspace_but_not_a_deleted_one(box: Box, visit: Visit) -> None:
    mia, runtime, host, _ = visit
    cookie, _ = await box.inside(mia, runtime)
    await box.runtimes.wish(runtime.id, Want.STOPPED, by=mia)
    box.show(runtime, Phase.STOPPED)
    box.woken.clear()
    assert (await box.page("/", cookie, host=host)).status == 302
    assert (await box.page("/.clawloops/waking", cookie, host=host)).status == 200
    assert box.woken == [runtime.id]
    await box.runtimes.wish(runtime.id, Want.GONE, by=mia)
    page = await box.page("/.clawloops/waking", cookie, host=host)
    assert "Go to the dashboard" in await page.text()
    gone = await box.runtimes.of_owner(mia.id)
    assert gone is not None and gone.want is Want.GONE


async def test_a_program_at_a_sleeping_workspace_is_told_to_wait(box: Box, visit: Visit) -> None:
    mia, runtime, host, _ = visit
    assert (await box.ask("POST", "/x", host=host)).status == 401
    cookie, _ = await box.inside(mia, runtime)
    reply = await box.ask("POST", "/x", host=host, headers={"Cookie": f"{cookies.WORKSPACE}={cookie}"})
    assert reply.status == 503 and reply.headers["Retry-After"] == "2"
    box.show(runtime, Phase.READY, address="127.0.0.1")
    page = await box.page("/", cookie, host=host)
    assert page.status == 503 and page.headers["Refresh"] == "1" and "Almost there" in await page.text()


@pytest.mark.attacks(9)
@pytest.mark.parametrize(
    "path", ["/api/v1/admin/rpc", "/api/v1/%61dmin/rpc", "//api/v1/./admin/rpc", "/.clawloops/nothing"]
)
async def test_admin_calls_and_unknown_own_paths_are_not_there_for_browsers(box: Box, visit: Visit, path: str) -> None:
    cookie, _ = await box.inside(visit[0], visit[1])
    reply = await box.ask("POST", path, host=visit[2], headers={"Cookie": f"{cookies.WORKSPACE}={cookie}"})
    assert reply.status == 404


@pytest.mark.attacks(10)
async def test_the_dashboards_pages_are_not_on_a_workspaces_host(box: Box, visit: Visit) -> None:
    assert (await box.ask("GET", "/sign-in", host=visit[2])).status == 401
    cookie, _ = await box.inside(visit[0], visit[1])
    crossed = await box.ask("GET", "/", headers={"Cookie": f"{cookies.SESSION}={cookie}"})
    assert crossed.status == 401

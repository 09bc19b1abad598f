"""Error pages: what happened, whether something was lost, what to do, and a number that stands in the log."""

from __future__ import annotations

import html
import io
import re

import pytest

from clawloops.model.account import Role
from clawloops.model.runtime import Phase
from clawloops.web.refusals import MOST, Refusals
from tests.web.box import NAVIGATE, Box
from tests.web.test_account import joined

_NUMBER = re.compile(r"Number of this request: <code>([0-9a-f]{12})</code>")


def _told(page: str, *sentences: str) -> str:
    """The number of a page that holds these sentences, and no trace of what went on inside."""
    plain = html.unescape(page)
    for each in sentences:
        assert each in plain, each
    assert not re.search(r"Traceback|sqlite|\.py\b", plain, re.I)
    found = _NUMBER.search(page)
    assert found is not None
    return found[1]


async def test_each_refusal_says_what_happened_what_was_lost_and_what_to_do(box: Box, said: io.StringIO) -> None:
    token, _ = await box.signed_in(await box.member("mia"))
    ended = await box.invitations.invite(role=Role.MEMBER, note="", by=await joined(box, "olga", Role.OWNER))
    for each in await box.invitations.open():
        await box.invitations.withdraw(each.id, by=await box.member("otto", Role.ADMIN))
    asked = {
        404: (box.page("/nowhere", token), ("There is nothing here", "Nothing was lost.", "look for it from there")),
        403: (box.page("/box", token), ("This page is for admins and viewers. Ask one of yours.", "Nothing was lost.")),
        410: (box.page(ended.partition(box.site.authority)[2]), ("This link has ended", "for a new one")),
        413: (box.send("/keys", token, name="x" * 70_000), ("too large", "Nothing was changed.", "shorten it")),
    }
    numbers = {}
    for status, (asking, sentences) in asked.items():
        reply = await asking
        assert reply.status == status
        numbers[status] = _told(await reply.text(), *sentences)
    written = said.getvalue()
    for status, number in numbers.items():
        assert re.search(rf"\[{number}\] refused (GET|POST) \S+: {status} ", written), (status, written)
    assert ended.rpartition("/")[2] not in written


async def test_a_long_address_fills_no_log(box: Box, said: io.StringIO) -> None:
    assert (await box.page("/" + ":" * 7000)).status == 404
    assert 0 < len(said.getvalue()) < 500


async def test_what_nobody_foresaw_is_a_number_on_the_page_and_a_trace_in_the_log(box: Box, said: io.StringIO) -> None:
    owner, member = await box.member("olga", Role.OWNER), await box.member("mia")
    await box.db.execute("PRAGMA foreign_keys = OFF")
    await box.db.execute("DROP TABLE budgets")
    await box.db.execute("DROP TABLE runtimes")
    token, _ = await box.signed_in(owner)
    reply = await box.page("/budgets", token)
    page = await reply.text()
    number = _told(page, "An error that we did not foresee.", "Nothing was lost.", "Try again in a moment.")
    assert reply.status == 500 and f"docker compose logs clawloops | grep {number}" in page
    line = next(each for each in said.getvalue().splitlines() if f"[{number}]" in each)
    assert "unforeseen at GET /budgets" in line and "Traceback" in said.getvalue()
    token, _ = await box.signed_in(member)
    page = await (await box.send("/workspace/stop", token)).text()
    _told(page, "What you sent may not have been saved. Look at the page it belongs to before you send it again.")
    assert "docker compose" not in page, "a member has no shell on the box"


async def test_a_workspace_that_cannot_be_woken_says_so_on_its_own_host(
    box: Box, said: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    mia = await box.member("mia")
    runtime = await box.workspace(mia, Phase.READY)
    inside, _ = await box.inside(mia, runtime)
    host = box.site.workspace_host(runtime.slug)
    await box.db.execute("PRAGMA foreign_keys = OFF")
    await box.db.execute("DROP TABLE runtimes")
    reply = await box.page("/.clawloops/waking", inside, host=host)
    number = _told(await reply.text(), "Nothing was lost.", "Try again")
    assert reply.status in (500, 503) and f'href="{box.site.origin}/"' in await reply.text()
    assert f"[{number}]" in said.getvalue()


async def test_a_page_that_the_door_of_a_workspace_shows_stands_in_the_log(box: Box, said: io.StringIO) -> None:
    mia, ben = await box.member("mia"), await box.member("ben")
    runtime = await box.workspace(mia)
    other = await box.workspace(ben)
    inside, _ = await box.inside(ben, other)
    headers = {
        **NAVIGATE, "X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/", "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": box.site.workspace_host(runtime.slug), "Cookie": f"__Host-cl_ws={inside}",
    }  # fmt: skip
    url = f"http://127.0.0.1:{box.auth_port}/forward-auth/{runtime.id}"
    async with box.http.get(url, headers=headers) as reply:
        number = _told(await reply.text(), "This is not open to you", "Nothing was lost.")
    assert reply.status == 403 and f"[{number}] refused GET at a workspace's door: 403" in said.getvalue()


def test_a_flood_of_refusals_does_not_drown_the_log(said: io.StringIO) -> None:
    refusals = Refusals()
    for _ in range(MOST + 50):
        refusals.note("GET", "/x", 404, KeyError("x"), now_s=10.0)
    assert said.getvalue().count("refused GET /x") == MOST
    refusals.note("GET", "/y", 404, KeyError("x"), now_s=71.0)
    assert "50 refusals of the last minutes were not written down" in said.getvalue()
    assert "refused GET /y" in said.getvalue()

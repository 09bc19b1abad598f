"""A workspace's log in a browser: its member's alone, live, looked through, and taken away."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from playwright.async_api import expect

from clawloops.errors import EngineUnavailable
from clawloops.model.account import Role
from clawloops.model.connection import Kind
from clawloops.model.runtime import Phase
from clawloops.web import cookies
from tests.web.box import Box
from tests.web.desk import Desk, browser, desk

__all__ = ["browser", "desk"]

HOSTILE = "<script>alert(1)</script>\x1b[31m </ol><img src=x onerror=alert(2)>"


@asynccontextmanager
async def following(box: Box, token: str, path: str = "/workspace/log/live") -> AsyncIterator[aiohttp.StreamReader]:
    headers = {"Host": box.site.authority, "Cookie": f"{cookies.SESSION}={token}"}
    url = f"http://127.0.0.1:{box.site.port}{path}"
    async with box.http.get(url, headers=headers) as stream, asyncio.timeout(20):
        assert stream.status == 200
        yield stream.content


async def event(stream: aiohttp.StreamReader) -> tuple[str, str]:
    """The next one, without those that only say that it goes on."""
    while True:
        block = (await stream.readuntil(b"\n\n")).decode()
        if block.startswith("event: "):
            name, _, data = block.partition("\n")
            return name.removeprefix("event: "), data


async def test_a_member_reads_the_log_of_their_own_workspace_and_finds_words_in_it(box: Box) -> None:
    maya, ken = await box.member("maya"), await box.member("ken")
    mine, theirs = await box.workspace(maya), await box.workspace(ken)
    box.printed.say(mine.id, "gateway ready", HOSTILE, *(f"turn {number}" for number in range(20)))
    box.printed.say(mine.id, "it broke", is_error=True)
    box.printed.say(theirs.id, "a secret plan of Ken")
    token, _ = await box.signed_in(maya)
    page = await (await box.page("/workspace/log", token)).text()
    assert "gateway ready" in page and page.count("<li>") == 22 and 'class="err"' in page
    assert "<script>alert" not in page and "<img" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "plan of Ken" not in page and 'href="/workspace/log"' in await (await box.page("/workspace", token)).text()
    page = await (await box.page("/workspace/log?words=TURN%201", token)).text()
    assert (
        "11 of the last 23 lines held these words." in page
        and "turn 19" in page
        and "turn 2<" not in page
        and "gateway" not in page
    )
    assert 'data-live="/workspace/log/live?words=TURN+1"' in page and 'value="TURN 1"' in page
    page = await (await box.page("/workspace/log?words=plan", token)).text()
    assert "0 of the last 23 lines held these words." in page
    odd = await box.page("/workspace/log?words=" + "%22%3E%3Cb%3E" + "x" * 500, token)
    assert odd.status == 200 and "<b>" not in await odd.text()


async def test_nobody_else_reads_it_whatever_address_they_try(box: Box) -> None:
    maya, ken = await box.member("maya"), await box.member("ken")
    ada = await box.member("ada", Role.ADMIN)
    mine = await box.workspace(maya)
    box.printed.say(mine.id, "a plan of Maya")
    for user, status in ((ken, 403), (ada, 403), (maya, 403)):  # its member's own address is /workspace/log
        token, _ = await box.signed_in(user)
        for path in ("log", "log/live", "log.txt", "log?words=plan"):
            reply = await box.page(f"/box/workspaces/{mine.id}/{path}", token)
            assert reply.status == status and "plan of Maya" not in await reply.text(), (user.login, path)
    for user in (ken, ada):
        token, _ = await box.signed_in(user)
        for path in ("log", "log.txt"):
            assert "plan of Maya" not in await (await box.page(f"/workspace/{path}", token)).text()
    assert (await box.page("/workspace/log")).status == 303 and (await box.page("/workspace/log/live")).status == 303
    token, _ = await box.signed_in(ada)
    assert "/log" not in await (await box.page(f"/box/workspaces/{mine.id}", token)).text()
    box.printed.say((await box.workspace(ada)).id, "a plan of Ada")
    own = await box.runtimes.of_owner(ada.id)
    assert own and "plan of Ada" in await (await box.page(f"/box/workspaces/{own.id}/log", token)).text()


async def test_the_key_of_a_connection_that_is_switched_off_is_not_shown_either(box: Box) -> None:
    maya = await box.member("maya")
    mine = await box.workspace(maya)
    token, _ = await box.signed_in(maya)
    sent = {"Authorization": "Bearer of-a-server-0123456789"}
    made = await box.connections.add_server(
        kind=Kind.HTTP, name="docs", target="https://mcp.example.org/mcp", secrets=sent, by=maya
    )
    await box.connections.switch(made.id, on=False, by=maya)
    box.printed.say(mine.id, "sent: Bearer of-a-server-0123456789")
    assert "sent: Bearer [secret]" in await (await box.page("/workspace/log", token)).text()


async def test_an_admin_reads_it_while_they_inspect_and_no_longer(box: Box) -> None:
    maya, ada = await box.member("maya"), await box.member("ada", Role.ADMIN)
    mine = await box.workspace(maya)
    box.printed.say(mine.id, "a plan of Maya")
    token, session = await box.signed_in(ada)
    elsewhere, _ = await box.signed_in(ada)
    path = f"/box/workspaces/{mine.id}/log"
    opened = await box.inspections.open(mine, by=ada, session=session, reason="She is ill", minutes=15)
    assert f'href="{path}"' in await (await box.page(f"/box/workspaces/{mine.id}", token)).text()
    assert (await box.page(path, elsewhere)).status == 403  # another browser of the same admin
    assert (await box.inspections.of(mine.id))[0].first_at == 0
    async with following(box, token, f"{path}/live") as stream:
        assert "a plan of Maya" in (await event(stream))[1]
        assert (await box.inspections.of(mine.id))[0].first_at > 0
    assert "a plan of Maya" in await (await box.page(path, token)).text()
    async with following(box, token, f"{path}/live") as stream:
        assert "a plan of Maya" in (await event(stream))[1]
        box.printed.say(mine.id, "one more")
        assert (await event(stream))[0] == "more"
        await box.inspections.end(opened.id, by=maya)
        began = time.monotonic()
        box.printed.say(mine.id, "after the end")
        with pytest.raises((aiohttp.ClientError, asyncio.IncompleteReadError)):
            pytest.fail(f"something came: {await event(stream)}")
        assert time.monotonic() - began < 5
    assert (await box.page(path, token)).status == 403


async def test_lines_come_as_they_are_printed_and_a_new_container_begins_the_list_anew(box: Box) -> None:
    maya = await box.member("maya")
    runtime = await box.workspace(maya)
    token, _ = await box.signed_in(maya)
    box.printed.say(runtime.id, "first")
    async with following(box, token) as stream:
        name, data = await event(stream)
        assert name == "part" and "first" in data and 'id="log"' in data
        box.printed.say(runtime.id, "second", HOSTILE)
        name, data = await event(stream)
        assert name == "more" and "second" in data and "first" not in data and data.count("<li") == 2
        assert "<script" not in data and "<img" not in data
        box.printed.say(runtime.id, "of the next", container="c2")
        name, data = await event(stream)
        assert name == "part" and "of the next" in data and "second" not in data
        box.show(runtime, Phase.STOPPED)
        name, data = await event(stream)
        assert name == "part" and "of the next" in data
    async with following(box, token, "/workspace/log/live?words=needle") as stream:
        await event(stream)
        box.printed.say(runtime.id, "hay", "the needle", container="c2")
        name, data = await event(stream)
        assert name == "more" and "the needle" in data and "hay" not in data


async def test_a_disabled_members_stream_ends_in_time_and_with_nothing_more(box: Box) -> None:
    owner, maya = await box.member("olga", Role.OWNER), await box.member("maya")
    runtime = await box.workspace(maya)
    token, _ = await box.signed_in(maya)
    box.printed.say(runtime.id, "first")
    async with following(box, token) as stream:
        await event(stream)
        await box.accounts.disable(maya.id, by=owner)
        box.printed.say(runtime.id, "after the end")
        began = time.monotonic()
        assert (await event(stream))[0] == "ended" and time.monotonic() - began < 5
        assert await stream.read() == b""


async def test_without_a_container_it_says_what_to_do_and_goes_on_by_itself(box: Box) -> None:
    maya = await box.member("maya")
    token, _ = await box.signed_in(maya)
    assert (await box.page("/workspace/log", token)).headers["Location"] == "/"
    runtime = await box.workspace(maya, Phase.ABSENT)
    page = await (await box.page("/workspace/log", token)).text()
    assert "has no container now" in page and "Start the workspace" in page and 'id="log"' not in page
    assert (await box.page("/workspace/log.txt", token)).status == 404
    async with following(box, token) as stream:
        assert "has no container now" in (await event(stream))[1]
        box.printed.say(runtime.id, "hello")
        assert "hello" in (await event(stream))[1]
        box.printed.fails = EngineUnavailable("the Docker Engine does not answer")
        name, data = await event(stream)
        assert name == "part" and "does not answer" in data
        box.printed.fails = None
        name, data = await event(stream)
        assert name == "part" and "hello" in data


async def test_it_is_downloaded_as_text_with_a_name_that_says_whose(box: Box) -> None:
    maya = await box.member("maya")
    runtime = await box.workspace(maya)
    token, _ = await box.signed_in(maya)
    box.printed.say(runtime.id, HOSTILE, *("x" * 1000 for _ in range(3000)))
    reply = await box.page("/workspace/log.txt", token)
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["Content-Disposition"] == f'attachment; filename="clawloops-{runtime.slug}.log.txt"'
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    lines = (await reply.text()).splitlines()
    assert len(lines) == 3001 and "\x1b" not in lines[0] and lines[0].startswith("2026-11-28T09:30:00.000000001Z out <")


async def test_who_does_not_read_the_stream_holds_no_more_than_a_few_parts(box: Box) -> None:
    maya = await box.member("maya")
    runtime = await box.workspace(maya)
    token, _ = await box.signed_in(maya)
    box.printed.say(runtime.id, "first")
    reader, writer = await asyncio.open_connection("127.0.0.1", box.site.port, limit=1 << 12)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = (
        f"GET /workspace/log/live HTTP/1.1\r\nHost: {box.site.authority}\r\nCookie: {cookies.SESSION}={token}\r\n\r\n"
    )
    writer.write(head.encode())
    await reader.readuntil(b"first")
    reader._transport.pause_reading()  # type: ignore[attr-defined]
    reads: list[int] = []
    for number in range(120):
        box.printed.say(runtime.id, *("x" * 2000 for _ in range(600)), container=f"c{number}")
        box.show(runtime, Phase.READY if number % 2 else Phase.BOOT)
        await asyncio.sleep(0.05)
        reads.append(box.printed.reads)
    assert reads[-1] == reads[-40], "it goes on reading for somebody who takes nothing"
    writer.transport.abort()


@pytest.mark.browser
async def test_a_browser_shows_new_lines_keeps_its_place_and_runs_nothing(box: Box, desk: Desk) -> None:
    maya = await box.member("maya")
    runtime = await box.workspace(maya)
    await desk.sign_in(maya)
    box.printed.say(runtime.id, HOSTILE, *(f"line {number}" for number in range(300)))
    page = await desk.context.new_page()
    page.on("dialog", lambda _: pytest.fail("a line of the log ran"))
    await page.goto(f"{box.site.origin}/workspace/log")
    log = page.locator("#log")
    await expect(log.locator("li")).to_have_count(301)
    at_end = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 2"
    assert await log.evaluate(at_end)
    box.printed.say(runtime.id, "and on")
    await expect(log.locator("li").last).to_contain_text("and on")
    assert await log.evaluate(at_end)
    await log.evaluate("log => { log.scrollTop = 50; }")
    box.printed.say(runtime.id, *(f"more {number}" for number in range(300)))
    await expect(log.locator("li").last).to_contain_text("more 299")
    await expect(log.locator("li")).to_have_count(500)
    assert not await log.evaluate(at_end)
    await page.get_by_label("Words").fill("MORE 299")
    await page.keyboard.press("Enter")
    await expect(log.locator("li")).to_have_count(1)
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download as text").click()
    assert (await download.value).suggested_filename == f"clawloops-{runtime.slug}.log.txt"

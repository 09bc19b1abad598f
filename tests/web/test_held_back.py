"""Who holds back the end of what they send, or leaves before it is done, gains nothing, and nothing is half done."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from clawloops.control.handover import new_state
from clawloops.control.tokens import Tokens
from clawloops.errors import BadInput, NotSignedIn, Unavailable
from clawloops.model.account import Role, User
from clawloops.model.token import TokenScope
from clawloops.store import sessions, users
from clawloops.store import tokens as rows
from clawloops.web import cookies
from tests.web.api.program import admin, program
from tests.web.box import Box

Patch = pytest.MonkeyPatch
pytestmark = pytest.mark.attacks
PASSWORD = "correct horse battery"


async def _held_back(box: Box, head: list[str], body: bytes, meanwhile: Any) -> tuple[int, bytes]:
    """A request whose last byte comes only after `meanwhile`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", box.site.port)
    lines = [*head, f"Host: {box.site.authority}", f"Content-Length: {len(body)}", "Connection: close"]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body[:-1])
    await writer.drain()
    await asyncio.sleep(0.3)
    await meanwhile()
    writer.write(body[-1:])
    await writer.drain()
    text = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return int(text.split()[1]), text


async def _with_password(box: Box, user: User) -> str:
    """The token of a session of theirs."""
    known = replace(user, password_hash=await box.accounts._passwords.hash(PASSWORD))
    box.accounts.remember(known)
    token, _ = await box.signed_in(known)
    return token


@pytest.mark.parametrize("end", ["revoked", "disabled"])
async def test_a_call_whose_body_comes_after_its_tokens_end_does_nothing(box: Box, end: str) -> None:
    olga = await box.member("olga", Role.OWNER)
    ada = await admin(box, "ada", Role.ADMIN)

    async def meanwhile() -> None:
        if end == "revoked":
            await box.tokens.revoke(ada.token.id, by=ada.user)
        else:
            await box.accounts.disable(ada.user.id, by=olga)

    head = ["POST /api/v1/groups HTTP/1.1", f"Authorization: Bearer {ada.secret}", "Content-Type: application/json"]
    status, _ = await _held_back(box, head, json.dumps({"name": "late"}).encode(), meanwhile)
    assert status == 401 and await box.groups.all() == []


@pytest.mark.parametrize(
    ("path", "fields"), [("/keys", {"days": "0"}), ("/account/tokens", {"days": "365", "scopes": "me:read"})]
)
async def test_a_form_whose_body_comes_after_its_member_was_disabled_makes_no_way_in(
    box: Box, path: str, fields: dict[str, str]
) -> None:
    olga, ben = await box.member("olga", Role.OWNER), await box.member("ben")
    token = await _with_password(box, ben)
    sent = {"csrf": cookies.csrf_of(token), "name": "late", "proof_password": PASSWORD, **fields}
    head = [
        f"POST {path} HTTP/1.1", f"Origin: {box.site.origin}", f"Cookie: {cookies.SESSION}={token}",
        "Content-Type: application/x-www-form-urlencoded",
    ]  # fmt: skip
    body = urlencode(sent).encode()
    status, _ = await _held_back(box, head, body, lambda: box.accounts.disable(ben.id, by=olga))
    assert status in (303, 401) and await box.keys.all() == [] and not box.directory._keys
    assert box.tokens.of(ben) == []


@pytest.mark.parametrize("how", ["cancelled", "store"])
async def test_a_revoked_token_stays_revoked_over_a_restart(box: Box, how: str, monkeypatch: Patch) -> None:
    ben = await program(box, await box.member("ben"))
    token, real = ben.token, rows.delete

    async def slow(*args: Any) -> bool:
        if how == "store":
            raise Unavailable("the disk is full")
        await asyncio.sleep(0.2)
        return await real(*args)

    monkeypatch.setattr(rows, "delete", slow)
    task = asyncio.create_task(box.tokens.revoke(token.id, by=ben.user))
    await asyncio.sleep(0.05)
    task.cancel()  # the tab is closed: handler_cancellation=True
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.4)
    shown = box.tokens.of(ben.user)
    again = Tokens(box.db, box.audit, box.keys)
    await again.load()
    assert [each.id for each in shown] == [each.id for each in again.of(ben.user)]


async def test_keys_end_with_their_token_also_when_the_browser_leaves(box: Box, monkeypatch: Patch) -> None:
    ben = await program(box, await box.member("ben"))
    made = await ben("POST", "/keys", {"name": "tool"})
    assert made.status == 201
    real = rows.delete

    async def then_leave(*args: Any) -> bool:
        done = await real(*args)
        await asyncio.sleep(0.2)
        return done

    monkeypatch.setattr(rows, "delete", then_leave)
    task = asyncio.create_task(box.tokens.revoke(ben.token.id, by=ben.user))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await box.keys.all() == []
    assert not box.directory._keys, "the gateway still takes it"


async def test_disabling_holds_also_when_the_program_that_asked_has_left(box: Box, monkeypatch: Patch) -> None:
    olga, ben = await box.member("olga", Role.OWNER), await box.member("ben")
    token, _ = await box.signed_in(ben)
    real = users.get

    async def slow(*args: Any) -> Any:
        await asyncio.sleep(0.2)
        return await real(*args)

    monkeypatch.setattr(users, "get", slow)
    task = asyncio.create_task(box.accounts.disable(ben.id, by=olga))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    row = await real(box.db, ben.id)
    assert row is not None and row.disabled_at is not None, "committed"
    assert box.accounts.user_of(token) is None


async def test_a_change_over_http_is_whole_also_when_its_sender_leaves(box: Box, monkeypatch: Patch) -> None:
    ben = await program(box, await box.member("ben"))
    assert (await ben("POST", "/keys", {"name": "tool"})).status == 201
    token, _ = await box.signed_in(ben.user)
    real = rows.delete

    async def then(*args: Any) -> bool:
        done = await real(*args)
        await asyncio.sleep(0.5)
        return done

    monkeypatch.setattr(rows, "delete", then)
    body = urlencode({"csrf": cookies.csrf_of(token)}).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", box.site.port)
    lines = [
        f"POST /account/tokens/{ben.token.id}/revoke HTTP/1.1", f"Host: {box.site.authority}",
        f"Origin: {box.site.origin}", f"Cookie: {cookies.SESSION}={token}",
        "Content-Type: application/x-www-form-urlencoded", f"Content-Length: {len(body)}",
    ]  # fmt: skip
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.transport.abort()
    await asyncio.sleep(0.7)
    assert not box.directory._keys, "the gateway still takes a key whose token is gone"
    assert [each.action for each in await box.audit.latest(1)] == ["token revoked"]


async def test_a_tokens_name_is_one_plain_line(box: Box) -> None:
    ben = await box.member("ben")
    for name in ("a\x00b", "x\x1b[2Jy", "a\u202eb"):
        with pytest.raises(BadInput):
            await box.tokens.make(name=name, scopes={TokenScope.ME_READ}, days=1, by=ben)


async def test_a_workspace_session_does_not_outlive_the_one_it_comes_from(box: Box, monkeypatch: Patch) -> None:
    """Signing out while the hand-over's code is being redeemed."""
    ben = await box.member("ben")
    runtime = await box.workspace(ben)
    _, parent = await box.signed_in(ben)
    real = sessions.add

    async def slow(*args: Any) -> None:
        await real(*args)
        await asyncio.sleep(0.2)  # the answer of the database is on its way

    monkeypatch.setattr(sessions, "add", slow)
    state, challenge = new_state()
    host = box.site.workspace_host(runtime.slug)
    code = box.handover.code(user=ben, session=parent, runtime=runtime, host=host, challenge=challenge)
    task = asyncio.create_task(box.handover.redeem(code, host=host, state=state))
    await asyncio.sleep(0.1)
    await box.sessions.revoke(parent)
    with pytest.raises(NotSignedIn):
        await task
    assert box.sessions.of(ben.id) == []

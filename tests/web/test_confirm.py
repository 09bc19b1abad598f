"""Before something dangerous a proof that is too old is asked for once more; the table of addresses is the list."""

from __future__ import annotations

import re

import pytest

from clawloops.control.sessions import PROOF_MS
from clawloops.model.account import Role, Session, User
from clawloops.web.middleware import UPLOADS
from clawloops.web.routes import DASHBOARD, Proof
from tests.web.box import Box
from tests.web.test_account import PASSWORD, joined
from tests.web.test_second_step import code_of, with_app

ASKED = [route.path for route in DASHBOARD if route.proof is Proof.ASKED]
HEADING = "<h1>Is it you?</h1>"


async def _stale(box: Box, user: User) -> tuple[str, Session]:
    """A session whose owner has proven themselves just too long ago."""
    token, session = await box.signed_in(user)
    await box.db.execute("UPDATE sessions SET proved_at = proved_at - $1 WHERE hash = $2", PROOF_MS, session.hash)
    await box.sessions.load()
    found = box.accounts.user_of(token)
    assert found is not None
    return token, found[1]


@pytest.fixture
async def olga(box: Box) -> User:
    return await joined(box, "olga", Role.OWNER)


def test_the_list_holds_what_opens_a_way_in_or_is_hard_to_undo() -> None:
    assert set(ASKED) == {
        "/account/app", "/account/app/confirm", "/account/app/remove", "/account/codes",
        "/account/passkeys", "/account/passkeys/new", "/account/passkeys/{id}/remove",
        "/account/sessions/end", "/account/sessions/{id}/end", "/account/tokens",
        "/workspace/delete", "/workspace/files/reset", "/workspace/webhook", "/box/workspaces/{id}/webhook",
        "/workspace/telegram",
        "/keys",
        "/models", "/models/backends/{id}/remove", "/models/backends/{id}/keys",
        "/models/backends/{id}/keys/{key}/remove",
        "/first-run/model", "/first-run/invite",
        "/account/identity", "/account/identity/remove", "/members/sign-in", "/members/sign-in/remove",
        "/members", "/members/second-factor", "/members/{id}/disable", "/members/{id}/enable",
        "/members/{id}/second-factor/remove", "/members/{id}/role", "/members/{id}/owner", "/members/{id}/reset",
        "/members/list", "/members/mail", "/members/mail/test", "/members/mail/remove",
        "/workspace/internet/reach", "/box/workspaces/{id}/internet/reach", "/box/internet/reach", "/box/internet",
        "/box/internet/rules/{rule}/remove", "/box/decoys", "/box/decoys/{id}/acknowledge",
        "/box/workspaces/{id}/inspections", "/box/fix/{remedy}", "/box/support", "/box/backups/{name}/remove",
    }  # fmt: skip
    assert [route.path for route in DASHBOARD if route.proof is Proof.IN_FORM] == ["/account/password"]
    assert not any(UPLOADS.fullmatch(re.sub(r"{\w+}", "x1", path)) for path in ASKED), "their fields are not read yet"
    assert all(route.method == "POST" for route in DASHBOARD if route.proof is not Proof.OLD_IS_ENOUGH)


@pytest.mark.attacks
@pytest.mark.parametrize("path", ASKED)
async def test_a_stale_session_is_asked_and_nothing_is_done(box: Box, olga: User, path: str) -> None:
    token, session = await _stale(box, olga)
    runtime = await box.workspace(olga)
    entries = len(await box.audit.latest())
    at = (
        path.replace("/workspaces/{id}", f"/workspaces/{runtime.id}")
        .replace("{id}", olga.id)
        .replace("{remedy}", "restart-ollama")
        .replace("{key}", "k")
        .replace("{rule}", "e")
        .replace("{name}", "a.db")
    )
    for proof, status in (({}, 403), ({"proof_password": "wrong"}, 403), ({"proof_code": "000000"}, 403)):
        reply = await box.send(at, token, name="A name", **proof)
        text = await reply.text()
        assert reply.status == status and HEADING in text and f'action="{at}"' in text
        assert '<input type="hidden" name="name" value="A name">' in text
    told = [each.action for each in (await box.audit.latest())[: -entries or None]]
    assert told == ["code refused", "password refused"]
    assert not box.sessions.is_proved(session)


async def test_a_right_password_goes_on_with_what_was_sent(box: Box, olga: User) -> None:
    token, session = await _stale(box, olga)
    text = await (await box.send("/members", token, note="For <Ken>", role="member")).text()
    assert 'name="note" value="For &lt;Ken&gt;"' in text and not await box.invitations.open()
    carried = re.findall(r'type="hidden" name="(note|role)" value="([^"]*)"', text)
    assert len(carried) == 2
    reply = await box.send("/members", token, note="For Ken", role="member", proof_password=PASSWORD)
    assert reply.status == 200 and "Invitation link" in await reply.text()
    assert [each.note for each in await box.invitations.open()] == ["For Ken"]
    assert box.sessions.is_proved(session)
    assert (await box.send("/members", token, note="Another", role="member")).status == 200


async def test_several_fields_of_one_name_are_all_carried(box: Box, olga: User) -> None:
    token, _ = await _stale(box, olga)
    rows = [("name", "x"), ("models", "a"), ("models", "b"), ("days", "0")]
    text = await (await box.send_rows("/keys", token, rows)).text()
    assert re.findall(r'type="hidden" name="models" value="(\w)"', text) == ["a", "b"]


async def test_a_code_of_the_app_is_a_proof_too_and_only_once(box: Box, olga: User) -> None:
    secret, _ = await with_app(box, olga)
    token, _ = await _stale(box, olga)
    other, session = await _stale(box, olga)
    text = await (await box.send("/account/codes", token)).text()
    assert "A code from your authenticator app" in text
    code = code_of(secret)
    assert (await box.send("/account/codes", token, proof_code=code)).status == 200
    assert (await box.send("/account/codes", other, proof_code=code)).status == 403
    assert not box.sessions.is_proved(session)


@pytest.mark.attacks
async def test_a_password_and_an_open_browser_do_not_take_a_second_factor_away(box: Box, olga: User) -> None:
    await with_app(box, olga)
    token, session = await _stale(box, olga)
    text = await (await box.send("/account/app/remove", token)).text()
    assert "or a recovery code" in text and "Your password" not in text
    reply = await box.send("/account/app/remove", token, proof_password=PASSWORD)
    assert reply.status == 403 and "Confirm it with your second factor" in await reply.text()
    assert (await box.factors.of(olga.id)).has_factor and not box.sessions.is_proved(session)


async def test_a_key_is_not_carried_along_but_asked_for_again(box: Box, olga: User) -> None:
    token, _ = await _stale(box, olga)
    fields = {"kind": "litellm", "name": "Anthropic", "provider": "anthropic", "models": "m"}
    key = "sk-not-to-be-shown"
    text = await (await box.send("/models", token, key=key, **fields)).text()
    assert HEADING in text and key not in text and 'name="left_out" value="key"' in text
    text = await (await box.send("/models", token, left_out="key", proof_password="wrong", **fields)).text()
    assert 'name="left_out" value="key"' in text and "That is not your password" in text
    reply = await box.send("/models", token, left_out="key", proof_password=PASSWORD, **fields)
    text = await reply.text()
    assert reply.status == 400 and "This was not kept" in text and 'value="Anthropic"' in text
    assert not await box.backends.shelves()


async def test_a_new_password_needs_the_old_one_however_fresh_or_stale_the_session_is(box: Box, olga: User) -> None:
    token, session = await _stale(box, olga)
    fresh, _ = await box.signed_in(olga)
    for each in (token, fresh):
        for current in ("", "wrong"):
            reply = await box.send("/account/password", each, current=current, password="quite another one")
            assert reply.status == 400 and "That is not your password" in await reply.text()
    assert (await box.send("/account/password", token, current=PASSWORD, password="quite another one")).status == 303
    assert box.sessions.is_live(session) and not box.sessions.is_proved(session)


@pytest.mark.attacks(20)
async def test_guessing_on_the_page_that_asks_is_slowed_down(box: Box, olga: User) -> None:
    token, _ = await _stale(box, olga)
    seen = [(await box.send("/keys", token, name="x", proof_password=f"guess {n}")).status for n in range(10)]
    assert seen == [403] * 8 + [429] * 2


async def test_a_workspaces_session_is_no_way_around(box: Box, olga: User) -> None:
    runtime = await box.workspace(olga)
    _, inside = await box.inside(olga, runtime)
    assert inside.proved_at == 0 and not box.sessions.is_proved(inside)

"""The page of one's tokens: made behind a proof, shown once, revoked by its owner alone, and forgotten by nobody."""

from __future__ import annotations

import re

import pytest

from clawloops.clock import now_ms
from clawloops.control.keys import DAY_MS
from clawloops.control.sessions import PROOF_MS
from clawloops.control.tokens import MOST
from clawloops.errors import BadInput, NotSignedIn
from clawloops.model.account import Role
from clawloops.model.token import TokenScope
from tests.web.box import Box

ME = TokenScope.ME_READ


async def _made(box: Box, session: str, **fields: str) -> str:
    """A token made by the form, as its page shows it."""
    sent = {"name": "script", "days": "90", "scopes": "me:read", **fields}
    text = await (await box.send("/account/tokens", session, **sent)).text()
    found = re.search(r'id="token" value="(clt_[\w-]{43})"', text)
    assert found, text
    assert f"Bearer {found[1]}" in text, "with a call to try"
    return found[1]


async def test_a_token_is_shown_once_and_works_at_once(box: Box) -> None:
    mia = await box.member("mia")
    session, _ = await box.signed_in(mia)
    made = await _made(box, session)
    token = await box.tokens.admit(made, "192.0.2.7")
    assert (token.user_id, token.scopes) == (mia.id, frozenset({ME}))
    assert abs(token.expires_at - now_ms() - 90 * DAY_MS) < 60_000
    page = await (await box.page("/account/tokens", session)).text()
    assert made not in page and made[:10] in page and "ends in 90 days" in page and "last used" in page
    assert "admin:read" not in page, "what only an admin's token can open"
    assert 'href="/account/tokens"' in await (await box.page("/account", session)).text()


async def test_its_last_use_is_written_down_later_and_kept(box: Box) -> None:
    mia = await box.member("mia")
    made = await box.tokens.make(name="script", scopes=[ME], days=1, by=mia)
    token = await box.tokens.admit(made, "")
    assert (await box.db.fetch("SELECT used_at FROM personal_tokens"))[0]["used_at"] == 0, "not with each call"
    await box.tokens.sweep()
    assert box.tokens.is_live(token)
    await box.tokens.load()
    assert now_ms() - box.tokens.of(mia)[0].used_at < 60_000


async def test_a_proof_is_asked_for_where_the_last_one_is_old(box: Box) -> None:
    session, kept = await box.signed_in(await box.member("mia"))
    await box.db.execute("UPDATE sessions SET proved_at = $1", now_ms() - PROOF_MS)
    await box.sessions.load()
    reply = await box.send("/account/tokens", session, name="script", days="90", scopes="me:read")
    assert reply.status == 403 and "clt_" not in await reply.text()
    assert box.tokens.of(box.accounts.get(kept.user_id)) == []


async def test_only_its_owner_revokes_a_token(box: Box) -> None:
    mia, ben = await box.member("mia"), await box.member("ben")
    (session, _), (other, _) = await box.signed_in(mia), await box.signed_in(ben)
    made = await _made(box, session)
    (token,) = box.tokens.of(mia)
    assert (await box.send(f"/account/tokens/{token.id}/revoke", other)).status == 404
    assert (await box.send(f"/account/tokens/{token.id}/revoke", session)).status == 303
    with pytest.raises(NotSignedIn):
        await box.tokens.admit(made, "")
    assert (await box.send(f"/account/tokens/{token.id}/revoke", session)).status == 404


async def test_a_refused_form_keeps_what_was_typed(box: Box) -> None:
    session, _ = await box.signed_in(await box.member("mia"))
    await _made(box, session)
    for fields, said in (
        ({}, "a token of this name"),
        ({"name": ""}, "1 to 60 characters"),
        ({"name": "b", "days": "0"}, "a year at most"),
        ({"name": "b", "days": "366"}, "a year at most"),
        ({"name": "b", "days": "x"}, "Choose one of the list"),
        ({"name": "b", "scopes": "everything"}, "Choose from the list"),
        ({"name": "b", "scopes": "admin:read"}, "Only an admin"),
    ):
        sent = {"name": "script", "days": "30", "scopes": "me:read", **fields}
        refused = await box.send("/account/tokens", session, **sent)
        text = await refused.text()
        assert refused.status == 400 and said in text, fields
        assert f'value="{sent["name"]}"' in text
    none = await box.send("/account/tokens", session, name="b", days="30")
    assert none.status == 400 and "Choose what it may do" in await none.text()


async def test_an_admin_may_choose_what_is_for_admins_and_nobody_has_too_many(box: Box) -> None:
    olga = await box.member("olga", Role.OWNER)
    session, _ = await box.signed_in(olga)
    assert "admin:write" in await (await box.page("/account/tokens", session)).text()
    for number in range(MOST):
        await box.tokens.make(name=str(number), scopes=[TokenScope.ADMIN_WRITE], days=365, by=olga)
    with pytest.raises(BadInput, match="already"):
        await box.tokens.make(name="more", scopes=[ME], days=1, by=olga)


async def test_to_know_a_token_takes_no_query(box: Box) -> None:
    made = await box.tokens.make(name="script", scopes=[ME], days=1, by=await box.member("mia"))
    await box.db.close()
    reply = await box.ask("GET", "/api/v1/me", headers={"Authorization": f"Bearer {made}"})
    assert reply.status == 200 and (await reply.json())["login"] == "mia"

"""The page of one's keys: shown once, revoked by its owner alone, and what to write where."""

from __future__ import annotations

import re

from clawloops.clock import now_ms
from clawloops.model.account import User
from clawloops.model.provider import Backend, BackendKind, Model, Place, Route, Target
from clawloops.model.usage import Call, Tokens
from tests.web.box import Box


def _serve(box: Box) -> None:
    backend = Backend("b0", "Lab", BackendKind.OLLAMA, "http://x", "", 0)
    box.directory.set_routes(
        [
            Route(Model(f"m{name}", name, (Place("b0", name),), 1, 1, False, 0), (Target(backend, name),))
            for name in ("small", "large")
        ]
    )


async def _made(box: Box, session: str, **fields: str) -> str:
    """A key made by the form, as its page shows it."""
    text = await (await box.send("/keys", session, **{"name": "laptop", "days": "0", **fields})).text()
    found = re.search(r'id="key" value="(clk_[\w-]+)"', text)
    assert found, text
    return found[1]


async def _member(box: Box, login: str) -> tuple[User, str]:
    user = await box.member(login)
    return user, (await box.signed_in(user))[0]


async def test_a_key_is_shown_once_with_what_to_write_where(box: Box) -> None:
    _serve(box)
    mia, session = await _member(box, "mia")
    page = await (await box.page("/keys", session)).text()
    assert "YOUR_KEY" in page and "Your keys" not in page and "NODE_EXTRA_CA_CERTS" in page
    key = await _made(box, session, models="large")
    assert box.directory.find_key(key).models == {"large"}
    page = await (await box.page("/keys", session)).text()
    assert key not in page and key[:10] in page and "laptop" in page and "never used" in page
    (use,) = await box.keys.of(mia)
    box.journal.append(
        Call("0" * 32, now_ms(), mia.id, "", "large", "b0", Tokens(input=1200, output=34), 200, 5, 9, use.key.id)
    )
    await box.ledger.fold()
    page = await (await box.page("/keys", session)).text()
    assert "1,234 tokens in 1 call<" in page and "last used" in page
    assert "1,234" in await (await box.page("/", session)).text()  # it counts as its owner's


async def test_the_recipes_name_this_box_the_key_and_a_model(box: Box) -> None:
    _serve(box)
    _, session = await _member(box, "mia")
    shown = await (await box.send("/keys", session, name="laptop", days="30")).text()
    for line in (
        f"OPENAI_BASE_URL={box.site.origin}/v1",
        f"ANTHROPIC_BASE_URL={box.site.origin}\n",
        "ANTHROPIC_AUTH_TOKEN=clk_",
        "model_provider = &#34;clawloops&#34;",
        f"apiBase: {box.site.origin}/v1",
        f"curl {box.site.origin}/v1/chat/completions",
    ):
        assert line in shown
    assert "ends in 30 days" in shown
    assert 'value="laptop"' not in shown, "the form is empty for the next one"


async def test_only_its_owner_revokes_a_key(box: Box) -> None:
    mia, session = await _member(box, "mia")
    _, other = await _member(box, "ben")
    key = await _made(box, session)
    (use,) = await box.keys.of(mia)
    assert (await box.send(f"/keys/{use.key.id}/revoke", other)).status == 404
    assert box.directory.find_key(key)
    assert use.key.id not in await (await box.page("/keys", other)).text()
    assert (await box.send(f"/keys/{use.key.id}/revoke", session)).status == 303
    assert await box.keys.of(mia) == []


async def test_a_refused_form_keeps_what_was_typed(box: Box) -> None:
    _serve(box)
    _, session = await _member(box, "mia")
    await _made(box, session)
    refused = await box.send("/keys", session, name="laptop", days="90", models="small")
    text = await refused.text()
    assert refused.status == 400 and "a key of this name" in text
    assert 'value="laptop"' in text and re.search(r'value="90" selected', text)
    assert re.search(r'value="small"\s+checked', text) and not re.search(r'value="large"\s+checked', text)
    for days in ("x", "-1", "99999"):
        assert (await box.send("/keys", session, name="other", days=days)).status == 400
    assert (await box.page("/keys")).status == 303  # to sign in

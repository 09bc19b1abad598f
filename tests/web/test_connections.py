"""A member's MCP servers and Telegram bot: what is taken, who may see it, what is never told, and what it needs."""

from __future__ import annotations

import pytest

from clawloops.control import connections as control
from clawloops.errors import NotFound
from clawloops.model.account import Role, User
from clawloops.model.connection import BOT_TOKEN, Connection, Kind
from clawloops.model.egress import EVERYBODY, Mode, Policy
from clawloops.runtimes import openclaw
from clawloops.store import events
from clawloops.store import runtimes as rows
from tests.runtimes.test_spec import INSTALL
from tests.web.api.program import program
from tests.web.box import Box
from tests.web.scenes import with_models

PAGE = "/workspace/connections"
TOKEN = "123456789:AAE" + "canary-telegram-token-0123456789ab"
BEARER = "Bearer canary-of-a-header"
DOCS = {"kind": "streamable-http", "name": "docs", "target": "https://mcp.example.com/mcp"}


@pytest.fixture
async def mia(box: Box) -> User:
    user = await box.member("mia")
    await box.workspace(user)
    box.woken.clear()
    return user


@pytest.fixture
async def hers(box: Box, mia: User) -> str:
    return (await box.signed_in(mia))[0]


async def only(box: Box, user: User) -> Connection:
    (found,) = await box.connections.of(user)
    return found


async def config(box: Box, user: User) -> dict[str, object]:
    """What OpenClaw would be given now."""
    runtime = await rows.by_owner(box.db, user.id)
    assert runtime is not None
    return openclaw.render(runtime, INSTALL, [], await box.connections.of(user))


async def test_a_server_is_added_changed_switched_off_and_removed(box: Box, mia: User, hers: str) -> None:
    assert (await box.send(PAGE, hers, **DOCS, secrets=f"Authorization: {BEARER}")).status == 303
    made = await only(box, mia)
    assert (made.name, made.kind, made.secrets) == ("docs", Kind.HTTP, {"Authorization": BEARER})
    server = {"url": DOCS["target"], "transport": "streamable-http", "headers": {"Authorization": BEARER}}
    assert (await config(box, mia))["mcp"] == {"servers": {"docs": server}}
    text = await (await box.page(PAGE, hers)).text()
    assert "docs" in text and "Authorization" in text and "canary" not in text

    there = {**DOCS, "target": "https://mcp.example.com/v2"}
    assert (await box.send(f"{PAGE}/{made.id}", hers, **there, secrets="")).status == 303
    assert (await only(box, mia)).secrets == {"Authorization": BEARER}, "left empty, they stay"
    assert (await box.send(f"{PAGE}/{made.id}/switch", hers)).status == 303
    assert "mcp" not in await config(box, mia), "nothing of what is off is handed over"
    assert (await box.send(f"{PAGE}/{made.id}/switch", hers, on="yes")).status == 303
    assert (await box.send(f"{PAGE}/{made.id}", hers, **there, secrets="", forget="on")).status == 303
    assert (await only(box, mia)).secrets == {}
    assert (await box.send(f"{PAGE}/{made.id}/remove", hers)).status == 303
    assert (await box.send(f"{PAGE}/{made.id}/remove", hers)).status == 404
    noted = [(each.action, each.subject, each.detail) for each in await box.audit.latest(6)]
    words = ["removed", "changed", "switched on", "switched off", "changed", "added"]
    assert noted == [(f"MCP server {each}", "docs", "mcp.example.com") for each in words]
    runtime = await rows.by_owner(box.db, mia.id)
    assert runtime and box.woken == [runtime.id] * 6
    (newest, *_) = await events.of(box.db, runtime.id, limit=1)
    assert newest.text == "The MCP server docs was removed by Mia"


async def test_a_key_does_not_follow_an_address_to_another_place(box: Box, mia: User, hers: str) -> None:
    await box.send(PAGE, hers, **DOCS, secrets=f"Authorization: {BEARER}")
    made = await only(box, mia)
    for elsewhere in ({"target": "https://mcp.example.com.evil.example/mcp"}, {"kind": "stdio", "target": "env"}):
        reply = await box.send(f"{PAGE}/{made.id}", hers, **{**DOCS, **elsewhere})
        assert reply.status == 400 and "They were for another place" in await reply.text()
    await box.db.execute("UPDATE connections SET target = 'https://evil.example/mcp'")
    assert (await only(box, mia)).secrets is None, "nor when somebody changes it in the database"
    assert "mcp" not in await config(box, mia)
    assert "enter its headers or variables again" in await (await box.page(PAGE, hers)).text()
    assert (await box.send(f"{PAGE}/{made.id}/switch", hers)).status == 400
    assert (await box.send(f"{PAGE}/{made.id}", hers, **DOCS, secrets="X-Key: another-key")).status == 303
    assert (await only(box, mia)).secrets == {"X-Key": "another-key"}


@pytest.mark.parametrize(
    ("field", "sent"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "__proto__"}),
        ("name", {"name": "telegram"}),
        ("name", {"name": "Docs"}),
        ("name", {"name": "a" * 31}),
        ("kind", {"kind": "telegram"}),
        ("kind", {"kind": "carrier-pigeon"}),
        ("target", {"target": ""}),
        ("target", {"target": "http://mcp.example.com/mcp"}),
        ("target", {"target": "https://user:secret@mcp.example.com/mcp"}),
        ("target", {"target": "https://mcp.example.com:0/mcp"}),
        ("target", {"target": "https://mcp.example.com:99999/"}),
        ("target", {"target": "https://[::1/"}),
        ("target", {"target": "https://nas/mcp"}),
        ("target", {"target": "file:///etc/passwd"}),
        ("target", {"target": "https://mcp.example.com/" + "x" * 1000}),
        ("target", {"kind": "stdio", "target": "python3 'server.py"}),
        ("target", {"kind": "stdio", "target": "''"}),
        ("target", {"kind": "stdio", "target": "a\x00b"}),
        ("secrets", {"secrets": "Authorization"}),
        ("secrets", {"secrets": "X-A: 1\nX-A: 2"}),
        ("secrets", {"secrets": "X A: 1"}),
        ("secrets", {"secrets": "X-A: grün"}),
        ("secrets", {"secrets": "X-A:"}),
        ("secrets", {"secrets": "\n".join(f"X-{n}: 1" for n in range(17))}),
        ("secrets", {"kind": "stdio", "target": "env", "secrets": "__proto__=1"}),
    ],
)
async def test_what_openclaw_might_refuse_is_refused_beside_its_field(
    box: Box, mia: User, hers: str, field: str, sent: dict[str, str]
) -> None:
    reply = await box.send(PAGE, hers, **{**DOCS, "editing": "new", **sent})
    text = await reply.text()
    assert reply.status == 400 and await box.connections.of(mia) == []
    if field != "kind":
        assert f'id="new-{field}-note"' in text and 'aria-invalid="true" autofocus' in text
    assert 'value="docs"' in text or field == "name", "what was entered is kept"


async def test_a_key_that_is_not_written_back_is_asked_for_again(box: Box, mia: User, hers: str) -> None:
    """Else whoever mends the name alone would save a server without it, or a bot with the token from before."""
    sent = {**DOCS, "editing": "new", "name": "Docs", "secrets": f"Authorization: {BEARER}"}
    text = await (await box.send(PAGE, hers, **sent)).text()
    assert "Enter them again" in text and "canary" not in text
    await box.connections.set_telegram(token=TOKEN, people="", by=mia)
    text = await (await box.send("/workspace/telegram", hers, editing="telegram", key=TOKEN, people="@mia")).text()
    assert "Enter it again" in text and "canary" not in text
    assert "nter it again" not in await (await box.page(PAGE, hers)).text()


async def test_names_are_a_members_own_and_there_is_an_end(
    box: Box, mia: User, hers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ben = await box.member("ben")
    for user in (mia, ben):
        await box.connections.add_server(kind=Kind.COMMAND, name="docs", target="env", secrets={}, by=user)
    assert "one of this name already" in await (await box.send(PAGE, hers, **DOCS, editing="new")).text()
    monkeypatch.setattr(control, "MOST", 1)
    assert "There are 1 already" in await (await box.send(PAGE, hers, **{**DOCS, "name": "two"})).text()


@pytest.mark.attacks
async def test_nobody_else_sees_or_changes_a_members_connections_an_admin_neither(box: Box, mia: User) -> None:
    made = await box.connections.add_server(kind=Kind.COMMAND, name="mine", target="env", secrets={"A": "b"}, by=mia)
    olga = await box.member("olga", Role.OWNER)
    token, _ = await box.signed_in(olga)
    assert "mine" not in await (await box.page(PAGE, token)).text()
    for path in (made.id, f"{made.id}/switch", f"{made.id}/remove"):
        assert (await box.send(f"{PAGE}/{path}", token, **DOCS)).status == 404
    theirs = await program(box, olga)
    assert (await theirs("GET", "/workspace/connections")).body["items"] == []
    assert (await theirs("DELETE", f"/workspace/connections/{made.id}")).status == 404
    with pytest.raises(NotFound):
        await box.connections.switch(made.id, on=False, by=olga)
    assert await only(box, mia) == made


async def test_telegram_lets_in_whom_its_member_names_and_nobody_else(box: Box, mia: User, hers: str) -> None:
    form = {"editing": "telegram", "key": TOKEN, "people": ""}
    assert (await box.send("/workspace/telegram", hers, **form)).status == 303
    told = {
        "enabled": True, "botToken": TOKEN, "dmPolicy": "pairing", "groupPolicy": "disabled", "configWrites": False,
        "proxy": "http://clawloops-gateway:3128",
    }  # fmt: skip
    made = await config(box, mia)
    assert made["channels"] == {"telegram": told} and "telegram" in made["plugins"]["allow"]  # type: ignore[index]
    assert (await box.send("/workspace/telegram", hers, editing="telegram", key="", people="4242, 77777")).status == 303
    allowed = {"dmPolicy": "allowlist", "allowFrom": ["4242", "77777"]}
    assert (await config(box, mia))["channels"] == {"telegram": told | allowed}, "its token stays"
    assert "canary" not in await (await box.page(PAGE, hers)).text()
    for wrong in ({"key": "hello"}, {"people": "@mia"}, {"people": "*"}, {"people": "-1001234567890"}):
        reply = await box.send("/workspace/telegram", hers, **{**form, **wrong})
        text = await reply.text()
        assert reply.status == 400 and f'id="telegram-{next(iter(wrong))}-note"' in text and "canary" not in text
    assert (await only(box, mia)).secrets == {BOT_TOKEN: TOKEN}
    await box.send(f"{PAGE}/{(await only(box, mia)).id}/switch", hers)
    made = await config(box, mia)
    assert "channels" not in made and "telegram" not in made["plugins"]["allow"]  # type: ignore[index]


async def test_the_host_that_is_needed_is_allowed_with_one_press(box: Box, mia: User, hers: str) -> None:
    olga = await box.member("olga", Role.OWNER)
    (usual,) = (each for each in box.egress.rules_of(EVERYBODY) if each.host == "api.telegram.org")
    await box.egress.remove(EVERYBODY, usual.id, by=olga)
    await box.send(PAGE, hers, **{**DOCS, "target": "https://mcp.example.com:8443/mcp"})
    await box.send("/workspace/telegram", hers, key=TOKEN, people="")
    await box.send(PAGE, hers, kind="streamable-http", name="inside", target="http://127.0.0.1:9000/mcp")
    for place in ("mcp.example.com:8443", "api.telegram.org"):
        assert f"Allow {place}</button>" in await (await box.page(PAGE, hers)).text()
        reply = await box.send("/workspace/internet", hers, place=place, back=PAGE)
        assert (reply.status, reply.headers["Location"]) == (303, PAGE)
    assert "Allow " not in await (await box.page(PAGE, hers)).text()
    assert box.egress.allows(mia.id, "mcp.example.com", 8443) and box.egress.allows(mia.id, "api.telegram.org", 443)
    await box.egress.set_policy(mia.id, Policy(Mode.NONE), by=olga)
    text = await (await box.page(PAGE, hers)).text()
    assert "no internet access" in text and "Allow " not in text
    reply = await box.send("/workspace/internet", hers, place="example.org", back="https://evil.example/")
    assert reply.headers["Location"] == "/workspace/internet#list"


async def test_a_program_keeps_servers_and_can_only_end_a_channel(box: Box, mia: User) -> None:
    call = await program(box, mia)
    body = {"kind": "streamable-http", "name": "docs", "target": DOCS["target"], "secrets": {"Authorization": BEARER}}
    made = await call("POST", "/workspace/connections", body)
    assert made.status == 201 and made.body["secret_names"] == ["Authorization"] and "canary" not in str(made.body)
    path = f"/workspace/connections/{made.body['id']}"
    changed = await call("PATCH", path, {"name": "other", "enabled": False})
    assert (changed.body["name"], changed.body["enabled"]) == ("other", False)
    assert (await only(box, mia)).secrets == {"Authorization": BEARER}
    assert (await call("PATCH", path, {"target": "https://evil.example/"})).pointers == ["/secrets"]
    assert (await call("POST", "/workspace/connections", {**body, "kind": "telegram"})).status == 409
    assert (await call("DELETE", path)).status == 204
    bot = await box.connections.set_telegram(token=TOKEN, people="4242", by=mia)
    path = f"/workspace/connections/{bot.id}"
    changes: list[dict[str, object]] = [{"target": "666666"}, {"secrets": {}}, {"kind": "stdio"}]
    for change in changes:
        assert (await call("PATCH", path, change)).status == 409
    assert (await call("PATCH", path, {"enabled": False})).status == 200
    listed = await call("GET", "/workspace/connections")
    assert [(each["kind"], each["target"]) for each in listed.body["items"]] == [("telegram", "4242")]
    assert "canary" not in str(listed.body)
    assert (await call("DELETE", path)).status == 204


async def test_a_member_chooses_the_model_that_chats_begin_with(box: Box, mia: User, hers: str) -> None:
    await with_models(box)
    assert '<option value="m-llama3.3:70b" >' in await (await box.page("/workspace", hers)).text()
    form = {"policy": "stop", "back": "/workspace"}
    assert (await box.send("/workspace/settings", hers, **form, model="m-llama3.3:70b")).status == 303
    runtime = await rows.by_owner(box.db, mia.id)
    assert runtime is not None
    models = box.models.names_for(mia)

    def begins_with() -> str:
        return str(openclaw.render(runtime, INSTALL, models)["agents"]["defaults"]["model"]["primary"])

    assert begins_with() == "clawloops/llama3.3:70b"
    models = [each for each in models if each.id != runtime.model]
    assert begins_with() == "clawloops/qwen3:8b", "one that is open to them no more is none"
    assert (await box.send("/workspace/settings", hers, **form, model="m-nothing")).status == 400
    assert "its default model is llama3.3:70b" in (await box.audit.latest(1))[0].detail
    call = await program(box, mia)
    assert (await call("GET", "/workspace")).body["model_id"] == "m-llama3.3:70b"
    assert (await call("PATCH", "/workspace/settings", {"model_id": "x"})).pointers == ["/model_id"]
    assert (await call("PATCH", "/workspace/settings", {"model_id": ""})).body["model_id"] == ""

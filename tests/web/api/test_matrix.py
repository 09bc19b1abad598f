"""Who may do what: each operation of the table, tried in each way that is not allowed. None can be forgotten."""

from __future__ import annotations

import hashlib

import pytest

from clawloops.clock import now_ms
from clawloops.model.account import Role
from clawloops.model.factor import Requirement
from clawloops.model.token import TokenScope
from clawloops.web import cookies
from clawloops.web.api.operation import ROOT, Operation
from clawloops.web.api.table import OPERATIONS
from tests.web.api.program import EVERY, OWN, Answer, Program, admin, ask, filled, program
from tests.web.box import Box

BODIES = [each for each in OPERATIONS if each.body is not None]
ADMIN = [each for each in OPERATIONS if each.scope.is_for_admins]


def _names(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


async def _each(operations: list[Operation] | tuple[Operation, ...], call: Program) -> dict[str, Answer]:
    return {_names(each): await call(each.method, filled(each)) for each in operations}


def _are(answers: dict[str, Answer], status: int) -> None:
    wrong = {name: each.status for name, each in answers.items() if each.status != status}
    assert wrong == {}
    assert {each.kind for each in answers.values()} == {"application/problem+json"}


def test_every_operation_has_one_name_one_address_and_a_summary() -> None:
    assert len({each.name for each in OPERATIONS}) == len({(each.method, each.path) for each in OPERATIONS})
    assert len(OPERATIONS) == len({each.name for each in OPERATIONS}) > 75
    assert all(each.summary for each in OPERATIONS)


def test_what_changes_something_needs_another_scope_than_what_reads() -> None:
    for each in OPERATIONS:
        assert each.scope.value.endswith(":read" if each.method == "GET" else ":write"), _names(each)


@pytest.mark.attacks
async def test_without_a_token_nothing_is_open(box: Box) -> None:
    answers = {_names(each): await ask(box, each.method, filled(each)) for each in OPERATIONS}
    _are(answers, 401)
    assert all(each.headers["WWW-Authenticate"].startswith("Bearer") for each in answers.values())


@pytest.mark.attacks
async def test_no_cookie_opens_anything_whatever_is_sent_with_it(box: Box) -> None:
    """Nor does a workspace's session, a key for models, or a session's value in the token's place."""
    olga = await box.member("olga", Role.OWNER)
    session, _ = await box.signed_in(olga)
    sent = {
        "Cookie": f"{cookies.SESSION}={session}",
        "Origin": box.site.origin,
        "Sec-Fetch-Site": "same-origin",
        "X-CSRF-Token": cookies.csrf_of(session),
    }
    _are({_names(each): await ask(box, each.method, filled(each), headers=sent) for each in OPERATIONS}, 401)
    right = await program(box, olga)
    damaged = f"{cookies.SESSION}=x; {cookies.SESSION}={session}"
    assert (await right("GET", "/me", headers={"Cookie": damaged})).status == 200, "a cookie is not even read"
    _, key = await box.keys.make(name="tool", models=[], days=0, by=olga)
    for wrong in (key, session, "clt_", "clt_" + "x" * 43):
        answer = await ask(box, "GET", "/me", headers={**sent, "Authorization": f"Bearer {wrong}"})
        assert answer.status == 401


@pytest.mark.attacks
async def test_a_wrong_an_expired_and_a_revoked_token_open_nothing(box: Box) -> None:
    olga = await admin(box)
    (live,) = box.tokens.of(olga.user)
    await box.db.execute("UPDATE personal_tokens SET expires_at = $1", now_ms() - 1)
    await box.tokens.load()
    assert (await olga("GET", "/me")).status == 401
    await box.db.execute("UPDATE personal_tokens SET expires_at = $1", now_ms() + 60_000)
    await box.tokens.load()
    assert (await olga("GET", "/me")).status == 200
    await box.tokens.revoke(live.id, by=olga.user)
    _are(await _each(OPERATIONS[:3], olga), 401)
    assert await box.db.fetch("SELECT id FROM personal_tokens") == []


@pytest.mark.attacks
async def test_a_scope_opens_what_it_names_and_nothing_else(box: Box) -> None:
    olga = await box.member("olga", Role.OWNER)
    for scope in TokenScope:
        without = await program(box, olga, EVERY - {scope}, name=f"all but {scope}")
        _are(await _each([each for each in OPERATIONS if each.scope is scope], without), 403)
        await box.tokens.revoke(without.token.id, by=olga)
    reader = await program(box, olga, {TokenScope.ME_READ}, name="reader")
    assert (await reader("GET", "/me")).status == 200
    assert (await reader("GET", "/audit")).status == 403


@pytest.mark.attacks
async def test_a_member_s_token_opens_nothing_of_admins_even_if_its_row_says_so(box: Box) -> None:
    mia = await program(box, await box.member("mia"))
    _are(await _each(ADMIN, mia), 403)
    await box.db.execute("UPDATE personal_tokens SET scopes = $1", " ".join(TokenScope))
    await box.tokens.load()
    _are(await _each(ADMIN, mia), 403)
    assert (await mia("GET", "/me")).status == 200


@pytest.mark.attacks
async def test_with_the_role_its_admin_scopes_end_at_once(box: Box) -> None:
    grace = await admin(box, "grace", Role.ADMIN)
    assert (await grace("GET", "/members")).status == 200
    await box.db.execute("UPDATE users SET role = 'member' WHERE id = $1", grace.user.id)
    await box.accounts.reload()
    _are(await _each(ADMIN, grace), 403)
    assert (await grace("GET", "/me")).body["role"] == "member"


@pytest.mark.attacks
async def test_whoever_is_shut_out_has_no_tokens_any_more(box: Box) -> None:
    olga, mia = await admin(box), await program(box, await box.member("mia"))
    made = (await mia("POST", "/keys", {"name": "tool"})).body["secret"]
    assert box.directory.find_key(made).user_id == mia.user.id
    assert (await olga("POST", f"/members/{mia.user.id}/disable")).body["is_disabled"] is True
    assert (await mia("GET", "/me")).status == 401
    assert await box.db.fetch("SELECT id FROM personal_tokens WHERE user_id = $1", mia.user.id) == []
    ben = await program(box, await box.member("ben"))
    await box.db.execute("UPDATE users SET disabled_at = 1 WHERE id = $1", ben.user.id)  # by another process
    await box.accounts.reload()
    assert (await ben("GET", "/me")).status == 401
    await box.accounts.enable(mia.user.id, by=olga.user)
    assert (await mia("GET", "/me")).status == 401, "it has ended for good"
    assert await box.db.fetch("SELECT id FROM api_keys") == [], "with it, what it had made"


@pytest.mark.attacks
async def test_nobody_reaches_what_is_another_s(box: Box) -> None:
    """With every scope that a member can have, on ids that are right but of somebody else."""
    mia, ben = await program(box, await box.member("mia")), await program(box, await box.member("ben"))
    made = (await ben("POST", "/keys", {"name": "tool"})).body["key"]["id"]
    await ben("POST", "/workspace/start")
    rule = (await ben("POST", "/workspace/internet/rules", {"place": "example.org"})).body["id"]
    await box.db.execute("UPDATE runtimes SET volume_at = 1")
    job = (await ben("POST", "/workspace/reset")).body["id"]
    await mia("POST", "/workspace/start")
    for method, path in (
        ("DELETE", f"/keys/{made}"),
        ("DELETE", f"/workspace/internet/rules/{rule}"),
        ("DELETE", f"/workspace/work/{job}"),
    ):
        assert (await mia(method, path)).status in (403, 404), path
        assert (await ben(method, path)).status == 204, path


@pytest.mark.attacks
async def test_whoever_lacks_a_demanded_second_factor_does_nothing_by_a_program_either(box: Box) -> None:
    olga = await admin(box)
    await box.factors.require(Requirement.EVERYBODY, by=olga.user)
    _are(await _each(OPERATIONS, olga), 403)


@pytest.mark.attacks(11)
@pytest.mark.parametrize("origin", ["https://evil.example", "workspace", "null", "twice"])
async def test_no_page_of_another_origin_gets_anything(box: Box, origin: str) -> None:
    """Not even one that has a token, nor is anything said to its browser about who may ask (CORS)."""
    olga = await admin(box)
    runtime = await box.runtimes.open(olga.user)
    named = {"workspace": box.site.workspace_origin(runtime.slug), "twice": f"{box.site.origin}, {box.site.origin}"}
    for each in OPERATIONS:
        answer = await olga(each.method, filled(each), headers={"Origin": named.get(origin, origin)})
        assert answer.status == 403, _names(each)
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
    asked = await ask(box, "OPTIONS", "/me", headers={"Origin": origin, "Access-Control-Request-Method": "GET"})
    assert asked.status == 405 and "Access-Control-Allow-Origin" not in asked.headers
    assert (await ask(box, "GET", "/openapi.json", headers={"Origin": "https://evil.example"})).status == 403
    assert (await olga("GET", "/me", headers={"Sec-Fetch-Site": "same-site"})).status == 403
    assert (await olga("GET", "/me", headers={"Origin": box.site.origin})).status == 200


@pytest.mark.attacks
async def test_wrong_tokens_are_slowed_down_and_a_right_one_is_let_in_all_the_while(box: Box) -> None:
    olga = await admin(box)
    seen = [
        (await ask(box, "GET", "/me", headers={"Authorization": f"Bearer clt_{number:043}"})).status
        for number in range(12)
    ]
    assert seen == [401] * 8 + [429] * 4
    late = await ask(box, "GET", "/me", headers={"Authorization": "Bearer clt_x"})
    assert late.status == 429 and int(late.headers["Retry-After"]) > 600
    assert (await olga("GET", "/me")).status == 200
    refused = [each for each in await box.audit.latest() if each.action == "token refused"]
    assert len(refused) == 8, "what is throttled does not fill the audit"


async def test_a_workspace_s_host_has_no_such_api(box: Box) -> None:
    olga = await admin(box)
    runtime = await box.workspace(olga.user)
    host = box.site.workspace_host(runtime.slug)
    reply = await box.ask("GET", f"{ROOT}/me", host=host, headers={"Authorization": f"Bearer {olga.secret}"})
    assert reply.status != 200 and "login" not in await reply.text()


async def test_only_a_hash_is_kept_of_a_token(box: Box) -> None:
    olga = await admin(box)
    (row,) = await box.db.fetch("SELECT * FROM personal_tokens")
    assert bytes(row["token_hash"]) == hashlib.sha256(olga.secret.encode()).digest()
    assert olga.secret not in str(row) and len(OWN) < len(EVERY)


@pytest.mark.parametrize("operation", BODIES, ids=_names)
async def test_each_body_is_checked_against_its_type(box: Box, operation: Operation) -> None:
    """A field that nobody knows is refused by its name; so is everything that is no object of JSON."""
    olga = await admin(box)
    for body, pointer in (
        ({"nobody_knows": 1}, "/nobody_knows"),
        ([], ""),
        (b"{", ""),
        (b"\xff", ""),
        (b"", ""),
    ):
        answer = await olga(operation.method, filled(operation), body)
        assert (answer.status, answer.kind, answer.pointers) == (400, "application/problem+json", [pointer]), body
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        answer = await olga(operation.method, filled(operation), b"a=b", headers={"Content-Type": kind})
        assert answer.status == 415
    long = b'{"name":"' + b"x" * 70_000 + b'"}'
    assert (await olga(operation.method, filled(operation), long)).status == 413

"""What the operations do, area by area: as the dashboard would, and noted as done with a token."""

from __future__ import annotations

import asyncio

import pytest

from clawloops.bench.peers import free_port
from clawloops.control.keys import DAY_MS
from clawloops.errors import NotSignedIn
from clawloops.model.account import Role
from clawloops.model.egress import Mode, Policy
from clawloops.model.provider import Backend, BackendKind
from clawloops.model.rollout import Rollout, RolloutState
from clawloops.model.runtime import Phase
from clawloops.store import backends, credentials, rollouts
from clawloops.web.api.table import OPERATIONS
from tests.web.api.program import Answer, admin, ask, filled, program
from tests.web.box import IMAGE, Box, serve
from tests.web.scenes import with_files, with_models
from tests.web.shop import Shop
from tests.web.tools import tools_door


def _ok(answer: Answer, status: int) -> Answer:
    assert answer.status == status, answer.body
    return answer


async def test_a_workspace_is_made_stopped_restarted_and_settled(box: Box) -> None:
    mia = await program(box, await box.member("mia"))
    assert (await mia("GET", "/workspace")).status == 404
    made = _ok(await mia("POST", "/workspace/start"), 202).body
    assert made["want"] == "running" and made["address"].startswith("http://mia-")
    assert _ok(await mia("POST", "/workspace/restart"), 202).body["id"] == made["id"]
    settled = _ok(await mia("PATCH", "/workspace/settings", {"policy": "always-on"}), 200).body
    assert (settled["policy"], settled["sleeps_despite_polling"]) == ("always-on", False)
    assert (await mia("PATCH", "/workspace/settings", {"size": "large"})).pointers == ["/size"], "an admin's to say"
    assert _ok(await mia("POST", "/workspace/stop"), 202).body["want"] == "stopped"
    assert _ok(await mia("DELETE", "/workspace"), 202).body["want"] == "gone"
    (newest, *_) = (await mia("GET", "/workspace/events")).body["items"]
    assert newest["actor_id"] == mia.user.id and "deleted" in newest["text"]


async def test_the_end_of_ones_own_log_is_read_and_nobody_else_s(box: Box) -> None:
    mia, olga = await program(box, await box.member("mia")), await admin(box)
    assert (await mia("GET", "/workspace/log")).status == 404
    runtime = await box.workspace(mia.user)
    none = await mia("GET", "/workspace/log")
    assert none.status == 404 and "Start the workspace" in none.body["detail"]
    box.printed.say(runtime.id, "ready", *(f"turn {number}" for number in range(40)))
    box.printed.say(runtime.id, "\x1b[31mit broke\x1b[0m", is_error=True)
    told = _ok(await mia("GET", "/workspace/log?limit=2"), 200).body
    assert [(each["stream"], each["text"]) for each in told["lines"]] == [("out", "turn 39"), ("err", "it broke")]
    assert told["lines"][0]["at"] == "2026-11-28T09:30:40.000000001Z" and told["looked_at"] == 2
    found = _ok(await mia("GET", "/workspace/log?words=TURN%201&limit=500"), 200).body
    assert len(found["lines"]) == 13 and found["looked_at"] == 42
    assert (await mia("GET", "/workspace/log?limit=501")).status == 400
    _, session = await box.signed_in(olga.user)
    await box.inspections.open(runtime, by=olga.user, session=session, reason="To look", minutes=15)
    assert (await olga("GET", f"/workspaces/{runtime.id}/log")).status == 404
    assert (await olga("GET", "/workspace/log")).status == 404


async def test_an_admin_looks_after_everybody_s_workspaces(box: Box) -> None:
    olga, mia = await admin(box), await box.member("mia")
    runtime = await box.workspace(mia, Phase.READY)
    path = f"/workspaces/{runtime.id}"
    for word in ("stop", "start", "restart"):
        assert _ok(await olga("POST", f"{path}/{word}"), 202).body["owner_id"] == mia.id
    settled = _ok(await olga("PATCH", f"{path}/settings", {"size": "large", "pinned_image": IMAGE}), 200).body
    assert (settled["size"], settled["pinned_image"]) == ("large", IMAGE)
    assert (await olga("GET", "/workspaces")).body["items"][0]["state"] == "Ready"
    elsewhere = await olga("PATCH", f"{path}/settings", {"pinned_image": "evil.example/image:1"})
    assert (elsewhere.status, elsewhere.pointers) == (400, ["/pinned_image"])
    rule = _ok(await olga("POST", f"{path}/internet/rules", {"place": "*.example.org", "allows": False}), 201).body
    again = _ok(await olga("POST", f"{path}/internet/rules", {"place": "*.example.org"}), 201).body
    assert again["id"] == rule["id"] and again["allows"] is True
    assert _ok(await olga("DELETE", f"{path}/internet/rules/{rule['id']}"), 204).body is None


async def test_what_a_workspace_asks_for_is_answered_and_learning_is_ended(box: Box) -> None:
    olga, mia = await admin(box), await program(box, await box.member("mia"))
    asked = asyncio.create_task(box.egress.asking.ask(mia.user.id, "pkg.example", 443, is_over=lambda: False))
    await asyncio.sleep(0)
    (question,) = (await mia("GET", "/workspace/internet/questions")).body["items"]
    assert (question["host"], question["waiting"]) == ("pkg.example", 1)
    given = {"host": "pkg.example", "port": 443, "allow": True}
    _ok(await mia("POST", "/workspace/internet/answers", given), 204)
    await asyncio.wait_for(asked, 2)
    assert box.egress.allows(mia.user.id, "pkg.example", 443)
    assert (await mia("POST", "/workspace/internet/answers", given)).status == 404
    await box.egress.set_policy(mia.user.id, Policy(Mode.LEARNING), by=olga.user)
    assert _ok(await mia("POST", "/workspace/internet/lock"), 200).body["mode"] == "listed"


async def test_snapshots_come_back_are_given_and_thrown_away(box: Box) -> None:
    olga = await admin(box)
    await box.member("mia")
    await with_files(box, olga.user, await box.workspace(olga.user))
    await box.db.execute("DELETE FROM jobs")
    copies = (await olga("GET", "/workspace/snapshots")).body["items"]
    number = copies[0]["number"]
    assert _ok(await olga("POST", "/workspace/snapshots", {"note": "by a script"}), 202).body["task"] == "snapshot"
    assert _ok(await olga("POST", f"/workspace/snapshots/{number}/restore"), 202).body["state"] == "pending"
    assert _ok(await olga("POST", f"/workspace/snapshots/{number}/give", {"login": "mia"}), 202).body["task"] == "clone"
    nobody = await olga("POST", f"/workspace/snapshots/{number}/give", {"login": "nobody"})
    assert (nobody.status, nobody.pointers) == (400, ["/login"])
    job = _ok(await olga("POST", "/workspace/reset"), 202).body["id"]
    _ok(await olga("DELETE", f"/workspace/work/{job}"), 204)
    _ok(await olga("DELETE", f"/workspace/snapshots/{number}"), 204)
    assert number in [each["number"] for each in (await olga("GET", "/workspace/trash")).body["items"]]


async def test_a_key_that_a_token_makes_ends_with_it(box: Box) -> None:
    mia = await program(box, await box.member("mia"))
    made = _ok(await mia("POST", "/keys", {"name": "for ever"}), 201).body
    assert made["key"]["made_by_token"] == mia.token.id
    found = box.directory.find_key(made["secret"])
    assert found.expires_at == mia.token.expires_at, "no later than the token"
    sooner = _ok(await mia("POST", "/keys", {"name": "a day", "days": 1}), 201).body
    assert box.directory.find_key(sooner["secret"]).expires_at < mia.token.expires_at - 80 * DAY_MS
    _, own = await box.keys.make(name="by hand", models=[], days=0, by=mia.user)
    assert made["secret"] not in str((await mia("GET", "/keys")).body)
    await box.tokens.revoke(mia.token.id, by=mia.user)
    for ended in (made, sooner):
        with pytest.raises(NotSignedIn):
            box.directory.find_key(ended["secret"])
    assert box.directory.find_key(own).user_id == mia.user.id
    assert [use.key.name for use in await box.keys.of(mia.user)] == ["by hand"]


async def test_groups_budgets_names_and_backends_are_kept(box: Box) -> None:
    olga = await admin(box)
    await with_models(box)
    group = _ok(await olga("POST", "/groups", {"name": "Design", "members": [olga.user.id]}), 201).body
    taken = await olga("POST", "/groups", {"name": "Design"})
    assert (taken.status, taken.pointers) == (400, ["/name"])
    assert _ok(await olga("PUT", f"/groups/{group['id']}", {"name": "Art", "weight": 3}), 200).body["members"] == []
    wanted = {"scope": "group", "subject": group["id"], "measure": "tokens", "span": "day", "amount": 5}
    budget = _ok(await olga("POST", "/budgets", wanted), 201).body
    assert _ok(await olga("PATCH", f"/budgets/{budget['id']}", {"amount": 7}), 200).body["amount"] == 7
    assert (await olga("PATCH", f"/budgets/{budget['id']}", {"amount": 0})).pointers == ["/amount"]
    place = {"backend_id": "b1", "upstream": "qwen3:8b"}
    name = {"name": "fast", "places": [place], "context_window": 4096}
    model = _ok(await olga("POST", "/models", name), 201).body
    closed = {**name, "max_tokens": 99, "is_open": False, "groups": [group["id"]]}
    assert _ok(await olga("PUT", f"/models/{model['id']}", closed), 200).body["groups"] == [group["id"]]
    price = {"input": 3_000_000, "output": 9, "cached": 0}
    priced = _ok(await olga("PUT", f"/models/{model['id']}/price", {"place": place, "price": price}), 200).body
    assert priced["places"][0]["price"] == price and priced["places"][0]["is_own_price"]
    elsewhere = {"place": {"backend_id": "b2", "upstream": "qwen3:8b"}, "price": None}
    assert (await olga("PUT", f"/models/{model['id']}/price", elsewhere)).pointers == ["/place"]
    assert _ok(await olga("POST", f"/models/{model['id']}/default"), 200).body["is_default"]
    wrong = await olga("PUT", f"/models/{model['id']}", {**name, "places": [{**place, "upstream": 1}]})
    assert (wrong.status, wrong.pointers) == (400, ["/places/0/upstream"])
    load = {"slots": 2, "watts": 300, "memory_mb": 24_000}
    assert _ok(await olga("PUT", "/backends/b1/load", load), 200).body["slots"] == 2
    for path in (f"/models/{model['id']}", f"/budgets/{budget['id']}", f"/groups/{group['id']}", "/backends/b1"):
        _ok(await olga("DELETE", path), 204)
        assert (await olga("GET", path)).status == 404


async def test_a_move_that_halted_is_tried_again(box: Box) -> None:
    olga = await admin(box)
    await rollouts.begin(box.db, Rollout(IMAGE, "", RolloutState.HALTED, "it failed", 1, 2))
    assert (await olga("GET", "/box/upgrade")).body["state"] == "halted"
    assert _ok(await olga("POST", "/box/upgrade/again"), 200).body["state"] == "canary"


async def test_the_audit_names_the_token_with_which_it_was_done(box: Box) -> None:
    olga = await admin(box, "grace", Role.ADMIN)
    await olga("POST", "/groups", {"name": "Design"})
    await box.groups.make("By hand", [], by=olga.user)
    first, second, *_ = (await olga("GET", "/audit")).body["items"]
    assert first["detail"] == "0 members", "what is done in a browser names none"
    assert second["detail"] == f"0 members, with {olga.token.in_words}" and second["actor_id"] == olga.user.id
    assert (await box.audit.verify()).why == ""


async def test_what_is_not_there_or_not_meant_so_is_told_as_a_problem(box: Box) -> None:
    olga = await admin(box)
    for method, path, headers, status in (
        ("GET", "/nothing", {}, 404),
        ("GET", "/members/u%00", {}, 404),
        ("GET", "/../../members", {}, 404),
        ("PUT", "/me", {}, 405),
        ("GET", "/me", {"Accept": "text/html"}, 406),
        ("GET", "/me", {"Accept": "application/json;q=0"}, 406),
        ("GET", "/me", {"Upgrade": "websocket", "Connection": "Upgrade"}, 400),
        ("GET", "/me?verbose=1", {}, 400),
        ("GET", "/me", {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Authorization": ""}, 401),
    ):
        answer = await olga(method, path, headers=headers)
        assert (answer.status, answer.kind) == (status, "application/problem+json"), path
        assert {"type", "title", "status", "detail", "instance"} <= answer.body.keys()
        assert answer.headers["Cache-Control"] == "no-store"
    assert (await olga("PUT", "/me")).headers["Allow"] == "GET"
    for accept in ("application/json", "*/*", "text/html, application/*;q=0.5"):
        assert (await olga("GET", "/me", headers={"Accept": accept})).status == 200
    twice = await ask(box, "GET", "/me", headers={"Authorization": f"Basic {olga.secret}"})
    assert twice.status == 401


@pytest.mark.attacks(19)
async def test_no_provider_key_is_in_any_answer(box: Box) -> None:
    """Nor a hint of it; nor a link, a hash, or a token of anybody."""
    olga = await admin(box)
    canary = "sk-canary-0123456789abcdef0123456789abcdef"
    backend = Backend("b9", "Lab", BackendKind.OPENAI, "http://127.0.0.1:9/v1", "", 1)
    await backends.add(box.db, backend)
    kept = box.backends._seal(backend, canary, name="ours", group_id=None)

    await credentials.add(box.db, kept)
    await box.models.load()
    link = await box.invitations.invite(role=Role.ADMIN, note="Ken", by=olga.user)
    mia = await program(box, await box.member("mia"))
    runtime = await box.workspace(olga.user)
    made = (await mia("POST", "/keys", {"name": "tool"})).body["secret"]
    secrets = (
        canary,
        canary[-4:],
        link.rsplit("/", 1)[1],
        mia.secret,
        olga.secret,
        made,
        "token_hash",
        "password_hash",
    )

    ids = {"workspaces": runtime.id, "members": mia.user.id, "backends": "b9"}
    seen = 0
    for each in OPERATIONS:
        if each.method == "GET":
            answer = await olga("GET", filled(each, id=ids.get(each.path.split("/")[1], "x1")))
            seen += answer.status == 200
            assert not [secret for secret in secrets if secret in str(answer.body)], each.path
    assert seen > 30
    assert (await olga("GET", "/backends/b9")).body["keys"][0]["name"] == "ours"


async def test_the_first_steps_are_told_skipped_and_dismissed(box: Box) -> None:
    olga = await admin(box)
    told = _ok(await olga("GET", "/first-run"), 200).body
    assert told["next"] == "admin" and not told["is_over"]
    told = _ok(await olga("POST", "/first-run/steps/admin/skip"), 200).body
    assert told["next"] == "model" and told["steps"][0] == {"step": "admin", "is_done": False, "is_skipped": True}
    assert (await olga("POST", "/first-run/steps/nothing/skip")).status in (400, 404)
    told = _ok(await olga("POST", "/first-run/dismiss"), 200).body
    assert told["is_over"] and told["next"] == "model"


async def test_a_model_is_asked_for_a_word(box: Box) -> None:
    olga = await admin(box)
    assert (await olga("POST", "/models/nothing/try")).status == 404
    shop = await serve(Shop().app(), free_port())
    await with_models(box, f"http://127.0.0.1:{shop.addresses[0][1]}")
    place = {"backend_id": "b1", "upstream": "qwen3:8b"}
    model = _ok(await olga("POST", "/models", {"name": "fast", "places": [place], "context_window": 4096}), 201).body
    async with tools_door(box):
        told = _ok(await olga("POST", f"/models/{model['id']}/try"), 200).body
    await shop.cleanup()
    assert told["is_answered"] and told["answer"].startswith("Hello") and (told["input"], told["output"]) == (17, 11)

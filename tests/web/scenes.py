"""A box with people, models, budgets and work in it, for the pages to be drawn with."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import orjson
from aiohttp import web

from clawloops.clock import now_ms
from clawloops.gateway.budgets import Payer
from clawloops.model.account import Role, User
from clawloops.model.budget import Measure, Scope, Span
from clawloops.model.provider import Backend, BackendKind, Grants, Model, Place
from clawloops.model.runtime import Phase, Runtime
from clawloops.model.usage import Call, Tokens
from clawloops.model.workspace import JobState
from clawloops.store import backends, events, jobs, models, volumes
from clawloops.store import runtimes as rows
from tests.web.box import IMAGE, Box


async def with_models(box: Box, ollama: str = "http://ollama:11434") -> None:
    made = [
        (Backend("b1", "Ollama", BackendKind.OLLAMA, ollama, "", 1), ("qwen3:8b", "llama3.3:70b")),
        (Backend("b2", "anthropic", BackendKind.LITELLM, "", "anthropic", 2), ("claude-sonnet-4-5",)),
    ]
    for backend, names in made:
        await backends.add(box.db, backend)
        for name in names:
            model = Model(f"m-{name}", name, (Place(backend.id, name),), 32_768, 8192, name == "qwen3:8b", 1)
            await models.add(box.db, model)
    await box.models.load()


async def with_people(box: Box, owner: User) -> None:
    for login, name in (("grace", Role.ADMIN), ("linus", Role.MEMBER), ("mallory", Role.MEMBER)):
        user = await box.member(login, name)
        runtime = await box.workspace(user, Phase.STOPPED)
        box.journal.append(
            Call(
                user.id.ljust(32, "0"),
                now_ms(),
                user.id,
                runtime.id,
                "qwen3:8b",
                "b1",
                Tokens(len(login) * 91_234, 20_211),
                200,
                640,
                450_000,
            )
        )
    mallory = next(each for each in box.accounts.members() if each.login == "mallory")
    await box.accounts.disable(mallory.id, by=owner)
    await box.invitations.invite(role=Role.MEMBER, note="Ken, design team", by=owner)


def opened(selector: str) -> str:
    return f"for (const each of document.querySelectorAll('{selector}')) each.open = true"


async def with_groups(box: Box, owner: User) -> None:
    people = {each.login: each.id for each in box.accounts.members()}
    group = await box.groups.make("Design team", {people["grace"], people["linus"]}, by=owner)
    model = box.models.get("m-llama3.3:70b")
    places = (*model.places, Place("b2", "claude-haiku-4-5"))
    await box.models.change(
        replace(model, places=places, is_open=False), Grants(frozenset({owner.id}), frozenset({group.id})), by=owner
    )
    for _ in range(6):
        box.health.failed("b2", "Name or service not known", time.monotonic(), at=now_ms())


async def with_keys(box: Box, owner: User) -> None:
    await box.keys.make(name="Claude Code on the laptop", models=[], days=90, by=owner)
    await box.keys.make(name="CI", models=["qwen3:8b", "llama3.3:70b"], days=0, by=owner)
    for use in await box.keys.of(owner, since=0):
        if use.key.name == "CI":
            counted = Tokens(1_204_331, 88_120)
            box.journal.append(Call("e" * 32, now_ms(), owner.id, "", "qwen3:8b", "b1", counted, 200, 5, 9, use.key.id))
    await box.ledger.fold()


WHY_AWAKE = "A model is answering; it sleeps after 15 minutes without use."
WHY_ASLEEP = "It was paused because nobody used it for 15 minutes."


async def row_of(box: Box, runtime: Runtime) -> Runtime:
    row = await rows.get(box.db, runtime.id)
    assert row is not None
    return row


async def with_history(box: Box, runtime: Runtime) -> None:
    told: list[tuple[str, str, int | None]] = [
        ("makenetwork", "its private network was made", 412),
        ("create", "its container was made", 780),
        ("start", "its container was started", 340),
        ("ready", "OpenClaw is ready", 9120),
        ("sleep", WHY_ASLEEP, None),
        ("pause", "it was frozen", 21),
        ("wake", "It was woken: its pages were opened.", 19),
        ("failed", "OpenClaw needed more memory than its limit of 2048 MiB and was ended", None),
        ("start", "its container was started", 310),
        ("ready", "OpenClaw is ready", 8904),
    ]
    for minute, (kind, text, took_ms) in enumerate(told):
        at = now_ms() - (len(told) - minute) * 47 * 60_000
        await events.add(box.db, runtime.id, at=at, kind=kind, text=text, took_ms=took_ms)


async def with_files(box: Box, owner: User, runtime: Runtime) -> None:
    row = await volumes.used(box.db, await row_of(box, runtime), image=IMAGE, now=now_ms())
    for note, size in (("Before the big clean-up", 341_000_000), ("Snapshot", 298_000_000), ("Old one", 12_000_000)):
        number = await volumes.begin(box.db, row.id, note=note, image=IMAGE, now=now_ms() - size)
        await volumes.keep_as_snapshot(box.db, row.id, number, size=size)
    await box.workspaces.put_away(row.id, number, by=owner)
    done = await box.workspaces.export(row.id, by=owner)
    await jobs.note(box.db, done.id, JobState.DONE, "one file of 88 MiB", now=now_ms())
    await box.workspaces.snapshot(row.id, "Before the upgrade", by=owner)


async def with_budgets(box: Box, owner: User) -> None:
    """Some set, one nearly used up, one used up, and a workspace that goes in circles."""
    grace = next(each for each in box.accounts.members() if each.login == "grace")
    group = (await box.groups.all())[0]
    for scope, subject, measure, span, amount, is_background in (
        (Scope.EACH, "", Measure.TOKENS, Span.MONTH, 2_000_000, False),
        (Scope.BOX, "", Measure.COST, Span.MONTH, 50_000_000, False),
        (Scope.GROUP, group.id, Measure.GPU_MS, Span.DAY, 3_600_000, True),
        (Scope.MEMBER, grace.id, Measure.REQUESTS, Span.DAY, 3, False),
    ):
        await box.budgets.add(scope, subject, measure, span, amount, is_background=is_background, by=owner)
    for number in range(3):
        tokens = Tokens(400_000, 9_000)
        call = Call(f"{number:032x}", now_ms(), grace.id, "r", "claude-sonnet-4-5", "b2", tokens, 200, 5, 9)
        call = replace(call, cost=14_120_000, held_ms=61_000, energy_mwh=4_200)
        box.journal.append(call)
        box.budgets.gateway.settled(call, Payer(grace.id, "", "m-claude-sonnet-4-5", is_background=False))


class Shop:
    """Ollama's answers of large models that no machine of ours could hold: only to be drawn."""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        app.router.add_post("/api/show", self._show)
        app.router.add_post("/api/pull", self._pull)
        return app

    async def _tags(self, request: web.Request) -> web.Response:
        found = [("qwen3:8b", 5_225_388_164, "8.2B"), ("llama3.3:70b", 42_520_413_916, "70.6B"),
                 ("my-model:latest", 1_117_320_736, "1.5B")]  # fmt: skip
        told = [
            {"name": name, "size": size, "details": {"parameter_size": count, "quantization_level": "Q4_K_M"}}
            for name, size, count in found
        ]
        return web.json_response({"models": told})

    async def _ps(self, request: web.Request) -> web.Response:
        told = {"name": "qwen3:8b", "size": 10_700_000_000, "size_vram": 10_700_000_000, "context_length": 32768}
        return web.json_response({"models": [told]})

    async def _show(self, request: web.Request) -> web.Response:
        layers = 80 if "70b" in (await request.json())["model"] else 36
        info = {
            "general.architecture": "x", "x.block_count": layers, "x.attention.head_count": 32,
            "x.attention.head_count_kv": 8, "x.embedding_length": 4096, "x.context_length": 40960,
        }  # fmt: skip
        return web.json_response({"model_info": info})

    async def _pull(self, request: web.Request) -> web.StreamResponse:
        if "gone" in (await request.json())["model"]:
            return web.json_response({"error": "pull model manifest: file does not exist"})
        reply = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await reply.prepare(request)
        step = {"status": "pulling 74701a8c35f6", "digest": "sha256:7470", "total": 9_276_000_000}
        step = {**step, "completed": 3_900_000_000}
        await reply.write(orjson.dumps(step) + b"\n")
        await asyncio.sleep(3600)
        return reply


async def with_library(box: Box, owner: User) -> None:
    """`b1` is the Ollama of the scene."""
    await box.backends.set_load("b1", slots=1, watts=350, memory_mb=24_576, by=owner)
    for name in ("qwen3:14b", "gone:1b"):
        await box.library.pull("b1", name, is_offered=True, by=owner)
    await asyncio.sleep(0.3)

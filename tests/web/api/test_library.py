"""The library of a real Ollama over the API: what is on its disk, pulls that are read again, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clawloops.gateway.ollama import Ollama
from clawloops.model.account import Role
from clawloops.model.provider import Backend, BackendKind
from clawloops.store import backends
from tests.ollama import Line, Shelf, docker_client, gguf, ollama
from tests.registry import registry
from tests.web.api.program import Answer, Program, admin
from tests.web.box import Box

__all__ = ["docker_client", "gguf", "ollama", "registry"]
MIB = 1024**2
AT = "/backends/b1/library"


@pytest.fixture
async def olga(box: Box) -> Program:
    return await admin(box)


@pytest.fixture
async def shelf(box: Box, olga: Program, ollama: str) -> AsyncIterator[Shelf]:
    for each in await Ollama(box.http, ollama).pulled():
        await Ollama(box.http, ollama).remove(each.name)
    await backends.add(box.db, Backend("b1", "Ollama", BackendKind.OLLAMA, ollama, "", 1))
    await box.backends.set_load("b1", slots=1, watts=0, memory_mb=2048, by=olga.user)
    yield Shelf(box.library, box.http, ollama, "b1", olga.user)
    for task in box.keeping:
        task.cancel()
    await asyncio.gather(*box.keeping, return_exceptions=True)


async def _until(olga: Program, path: str, field: str) -> Answer:
    async with asyncio.timeout(30):
        while not (found := await olga("GET", path)).body[field]:
            await asyncio.sleep(0.05)
        return found


@pytest.mark.docker
async def test_a_model_is_offered_set_loaded_unloaded_and_removed(olga: Program, shelf: Shelf, gguf: Path) -> None:
    await shelf.bring(gguf)
    assert (await olga("GET", AT)).body == {
        "backend_id": "b1", "capacity_bytes": 2048 * MIB, "is_own_memory": False, "trouble": "",
    }  # fmt: skip
    (model,) = (await olga("GET", f"{AT}/models")).body["items"]
    assert (model["name"], model["context"], model["most_context"]) == ("tiny:latest", 32_768, 32_768)
    assert (model["fits"], model["loaded"], model["served"]) == (True, None, []) and model["bytes"] > 3 * MIB
    tiny = {"model": "tiny:latest"}
    assert (await olga("POST", f"{AT}/offer", tiny)).body == {"name": "tiny"}
    shown = await olga("PUT", f"{AT}/context", {**tiny, "context": 4096})
    assert (shown.status, shown.body["context"], shown.body["served"]) == (200, 4096, ["tiny"])
    shown = await olga("POST", f"{AT}/load", tiny)
    assert shown.status == 202 and shown.body["loaded"]["context"] == 4096, shown.body
    assert (await olga("POST", f"{AT}/unload", tiny)).status == 200
    kept = await olga("DELETE", f"{AT}/models?model=tiny:latest")
    assert kept.status == 409 and "The name tiny leads to it" in kept.body["detail"]
    (name,) = (await olga("GET", "/models")).body["items"]
    assert (await olga("DELETE", f"/models/{name['id']}")).status == 204
    assert (await olga("DELETE", f"{AT}/models?model=tiny:latest")).status == 204
    assert (await olga("GET", f"{AT}/models")).body["items"] == []


@pytest.mark.docker
async def test_a_pull_is_begun_read_again_cancelled_and_goes_on(
    olga: Program, shelf: Shelf, registry: str, gguf: Path
) -> None:
    await shelf.publish(registry, gguf, "team/tiny")
    async with Line(registry, shelf.session).listening() as line:
        name = f"http://{line.address}/team/tiny"
        found = (await olga("GET", f"{AT}/fit?model={name}")).body
        assert found["fits"] is True and 3 * MIB < found["bytes"] < 4 * MIB and "It fits" in found["text"]
        line.passed = 0
        begun = await olga("POST", f"{AT}/pulls", {"model": name, "is_offered": True})
        assert (begun.status, begun.body["state"], begun.body["ended_at"]) == (202, "running", None)
        assert (await olga("POST", f"{AT}/pulls", {"model": name})).status == 409
        path = f"{AT}/pulls/{begun.body['id']}"
        now = (await _until(olga, path, "total_bytes")).body
        assert now["completed_bytes"] < now["total_bytes"] < 4 * MIB and "pulling" in now["step"]
        ended = await olga("DELETE", path)
        assert (ended.status, ended.body["state"]) == (200, "cancelled") and ended.body["ended_at"]
        line.open.set()
        again = (await olga("POST", f"{AT}/pulls", {"model": name, "is_offered": True})).body
        done = (await _until(olga, f"{AT}/pulls/{again['id']}", "ended_at")).body
        assert (done["state"], done["note"]) == ("done", f"Members see it as {line.address}/team/tiny.")
    listed = (await olga("GET", f"{AT}/pulls?limit=1")).body
    assert [each["id"] for each in listed["items"]] == [again["id"]]
    rest = (await olga("GET", f"{AT}/pulls?cursor={listed['next_cursor']}")).body
    assert [each["id"] for each in rest["items"]] == [begun.body["id"]]


async def test_what_is_wrong_is_said_where_it_is(box: Box, olga: Program) -> None:
    await backends.add(box.db, Backend("b1", "Ollama", BackendKind.OLLAMA, "http://127.0.0.1:9", "", 1))
    await backends.add(box.db, Backend("b2", "Lab", BackendKind.OPENAI, "http://127.0.0.1:9/v1", "", 0))
    assert "does not answer" in (await olga("GET", AT)).body["trouble"]
    assert (await olga("GET", f"{AT}/models")).body["items"] == []
    for method, path, body, status, pointers in (
        ("GET", "/backends/b2/library", None, 404, []),
        ("GET", f"{AT}/pulls/q0", None, 404, []),
        ("DELETE", f"{AT}/pulls/q0", None, 404, []),
        ("POST", f"{AT}/pulls", {"model": "not a name"}, 400, ["/model"]),
        ("GET", f"{AT}/fit?model=../etc", None, 400, ["/model"]),
        ("GET", f"{AT}/fit", None, 400, ["/model"]),
        ("DELETE", f"{AT}/models", None, 400, ["/model"]),
        ("POST", f"{AT}/unload", {"model": "tiny"}, 400, ["/model"]),
        ("PUT", f"{AT}/context", {"model": "tiny", "context": 1}, 400, ["/context"]),
    ):
        answer = await olga(method, path) if body is None else await olga(method, path, body)
        assert (answer.status, answer.pointers) == (status, pointers), (method, path, answer.body)
    assert [each.action for each in await box.audit.latest() if "pull" in each.action] == []
    grace = await admin(box, "grace", Role.ADMIN)
    assert (await grace("GET", AT)).status == 200

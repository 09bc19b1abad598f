"""What an error in the middle of a pull means: no such model, or one to ask for again. The lines are Ollama's own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from clawloops.errors import BackendRefused, BackendUnavailable
from clawloops.gateway.ollama import Ollama, reference
from tests.web.box import serve


@pytest.fixture
async def ollama() -> AsyncIterator[tuple[Ollama, list[str]]]:
    """One that says these words in its next pull."""
    words: list[str] = []

    async def pull(_: web.Request) -> web.Response:
        lines = [{"status": "pulling manifest"}, {"error": words[0]}]
        return web.Response(text="".join(json.dumps(each) + "\n" for each in lines))

    app = web.Application()
    app.router.add_post("/api/pull", pull)
    runner = await serve(app, 0)
    try:
        async with aiohttp.ClientSession() as session:
            yield Ollama(session, f"http://127.0.0.1:{runner.addresses[0][1]}"), words
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("context canceled", BackendUnavailable),  # another caller's leaving, not ours: we are there to read it
        ("pull model manifest: file does not exist", BackendRefused),
    ],
)
async def test_a_pull_that_ollama_gives_up_is_asked_for_again(
    ollama: tuple[Ollama, list[str]], said: str, kind: type[Exception]
) -> None:
    api, words = ollama
    words.append(said)
    with pytest.raises(kind, match=said):
        async for _ in api.pull(reference("tiny")):
            pass

"""A library of large models, as an Ollama tells of them, only to be drawn."""

from __future__ import annotations

import asyncio

import orjson
from aiohttp import web

from clawloops.model.account import User
from tests.web.box import Box


class Shop:
    """Ollama's answers of large models that no machine of ours could hold: only to be drawn."""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/api/tags", self._tags)
        app.router.add_get("/api/ps", self._ps)
        app.router.add_post("/api/show", self._show)
        app.router.add_post("/api/pull", self._pull)
        app.router.add_post("/v1/chat/completions", self._chat)
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

    async def _chat(self, request: web.Request) -> web.Response:
        said = {"role": "assistant", "content": "Hello there, and welcome to your new box!"}
        used = {"prompt_tokens": 17, "completion_tokens": 11}
        return web.json_response({"choices": [{"index": 0, "message": said}], "usage": used})

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

"""A scriptable model server, a real one: it speaks OpenAI's, Anthropic's and Ollama's dialects (`tests/dialects.py`).

What it does is chosen by the model's name, so that it can also be steered through LiteLLM:

    any other name    streams five words, with usage where it was asked for
    tools             calls the first tool of the request
    error-STATUS      refuses with this HTTP status (401 quotes the key, as some providers do)
    cut-N             breaks the connection after N chunks
    hang              never answers;  hang-N  stops answering after N chunks
    slow-MS           waits MS milliseconds between chunks
    key-KEY           accepts no key but KEY
    long-N            streams N words

Or by a script: `upstream.scripts["name"] = Script(...)`, over HTTP `PUT /control/scripts/NAME` with its fields
as JSON. `GET /control/requests` tells what was asked, `DELETE /control/requests` forgets it.
By hand: `python -m tests.upstream`.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests import dialects

PATHS = ("/v1/chat/completions", "/v1/completions", *dialects.PATHS)
WORDS = ("Hello", " from", " the", " scripted", " upstream.")


@dataclass
class Script:
    """What is done for one model. A stream is `pieces` if given (sent as they are), else made of `words`."""

    words: list[str] = field(default_factory=lambda: list(WORDS))
    pieces: list[str] | None = None  # Latin-1
    content_type: str = ""  # what a stream usually has there
    tool: bool = False
    call: dict[str, Any] | None = None  # calls this tool (name, arguments) once in a conversation, then says `words`
    gap_s: float = 0.0
    stepwise: bool = False  # each chunk but the first waits for `Upstream.step`
    status: int = 200
    error: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    key: str | None = None
    tells: bool = False  # usage in a stream though nobody asked, as Mistral does
    cut_after: int | None = None
    hang_after: int | None = None  # 0: not even a header


@dataclass
class Seen:
    """One request, as it arrived."""

    path: str
    authorization: str
    headers: dict[str, str]
    body: Any
    connection: int  # equal for requests on one connection
    sent: int = 0  # chunks
    ended_at: float | None = None  # time.monotonic()
    left: bool = False  # the caller went away before the end


def script_of(name: str) -> Script:
    """The script that a model's name stands for."""
    kind, _, rest = name.partition("-")
    match kind:
        case "tools":
            return Script(tool=True)
        case "error" if rest.isdigit():
            return Script(status=int(rest))
        case "cut" if rest.isdigit():
            return Script(cut_after=int(rest))
        case "hang":
            return Script(hang_after=int(rest or 0))
        case "slow" if rest.isdigit():
            return Script(gap_s=int(rest) / 1000)
        case "key":
            return Script(key=rest)
        case "long" if rest.isdigit():
            return Script(words=["word "] * int(rest))
        case _:
            return Script()


class Upstream:
    def __init__(self, *, without: Collection[str] = ()) -> None:
        self.paths = [path for path in PATHS if path not in without]
        self.scripts: dict[str, Script] = {}
        self.seen: list[Seen] = []
        self.missed: list[str] = []  # asked for what it does not know
        self.steps = asyncio.Semaphore(0)
        self.url = ""

    def step(self) -> None:
        """Let one stepwise stream send its next chunk."""
        self.steps.release()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/api/tags", self._tags)
        app.router.add_post("/v1/embeddings", self._embeddings)
        for path in self.paths:
            app.router.add_post(path, self._chat)
        app.router.add_post("/openai/deployments/{model}/chat/completions", self._chat)  # Azure
        app.router.add_post("/openai/v1/responses", self._chat)
        app.router.add_post("/models/{model}:{verb}", self._gemini)
        app.router.add_put("/control/scripts/{name}", self._set_script)
        app.router.add_get("/control/requests", self._requests)
        app.router.add_delete("/control/requests", self._forget)
        app.router.add_route("*", "/{tail:.*}", self._miss)
        return app

    async def _miss(self, request: web.Request) -> web.Response:
        self.missed.append(request.path)
        return web.Response(status=404, text="404 page not found")

    async def _set_script(self, request: web.Request) -> web.Response:
        self.scripts[request.match_info["name"]] = Script(**await request.json())
        return web.json_response({})

    async def _requests(self, request: web.Request) -> web.Response:
        return web.json_response([dataclasses.asdict(each) for each in self.seen])

    async def _forget(self, request: web.Request) -> web.Response:
        self.seen.clear()
        return web.json_response({})

    async def _models(self, request: web.Request) -> web.Response:
        self._note(request, None)
        data = [{"id": name, "object": "model"} for name in ("small", *self.scripts)]
        return web.json_response({"object": "list", "data": data})

    async def _tags(self, request: web.Request) -> web.Response:
        self._note(request, None)
        return web.json_response({"models": [{"name": name} for name in ("small:latest", *self.scripts)]})

    async def _embeddings(self, request: web.Request) -> web.Response:
        self._note(request, await request.json())
        data = [{"object": "embedding", "index": 0, "embedding": [0.25, -0.5]}]
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        return web.json_response({"object": "list", "data": data, "model": "embed", "usage": usage})

    async def _gemini(self, request: web.Request) -> web.Response:
        self._note(request, await request.json())
        if request.match_info["verb"] == "streamGenerateContent":
            told = [f"data: {json.dumps(each)}\r\n\r\n" for each in dialects.gemini(WORDS, len(WORDS))]
            return web.Response(text="".join(told), content_type="text/event-stream")
        return web.json_response(dialects.gemini(["".join(WORDS)], len(WORDS))[0])

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        seen = self._note(request, body)
        name = str(body.get("model"))
        script = self.scripts.get(name) or script_of(name)
        try:
            return await self._answer(request, body, script, seen)
        except (asyncio.CancelledError, ConnectionResetError):
            seen.left = True
            raise
        finally:
            seen.ended_at = time.monotonic()

    async def _answer(self, request: web.Request, body: Any, script: Script, seen: Seen) -> web.StreamResponse:
        if script.hang_after == 0:
            await asyncio.sleep(3600)
        if script.key is not None and seen.authorization != f"Bearer {script.key}":
            return self._refuse(401, f"Incorrect API key provided: {seen.authorization}.", script)
        if script.status != 200:
            text = script.error or f"scripted error, called with {seen.authorization}"
            return self._refuse(script.status, text, script)
        unasked = request.path in ("/api/chat", "/api/generate")
        if not body.get("stream", unasked):
            if script.pieces is not None:
                raw = "".join(script.pieces).encode("latin-1")
                kind = script.content_type or "application/json"
                return web.Response(body=raw, headers={"Content-Type": kind, **script.headers})
            return web.json_response(_whole(request.path, body, script), headers=script.headers)
        pieces = script.pieces if script.pieces is not None else _events(request.path, body, script)
        kind = script.content_type or ("application/x-ndjson" if unasked else "text/event-stream")
        reply = web.StreamResponse(headers={"Content-Type": kind, **script.headers})
        await reply.prepare(request)
        for number, piece in enumerate(pieces):
            if number == script.cut_after:
                assert request.transport is not None
                await asyncio.sleep(0.05)  # what was sent arrives before the reset does
                request.transport.abort()
                return reply
            if number == script.hang_after:
                await asyncio.sleep(3600)
            if script.stepwise and number:
                await self.steps.acquire()
            elif script.gap_s and number:
                await asyncio.sleep(script.gap_s)
            await reply.write(piece.encode("latin-1"))
            seen.sent += 1
        await reply.write_eof()
        return reply

    def _refuse(self, status: int, message: str, script: Script) -> web.Response:
        error = {"message": message, "type": "scripted", "param": None, "code": str(status)}
        return web.json_response({"error": error}, status=status, headers=script.headers)

    def _note(self, request: web.Request, body: Any) -> Seen:
        seen = Seen(
            path=request.path,
            authorization=request.headers.get("Authorization", ""),
            headers=dict(request.headers),
            body=body,
            connection=id(request.protocol),
        )
        self.seen.append(seen)
        return seen


def _whole(path: str, body: Any, script: Script) -> dict[str, Any]:
    if path in dialects.PATHS:
        return dialects.whole(path, body, script.words, tool=script.tool)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(script.words)}
    if script.tool:
        message = {"role": "assistant", "content": None, "tool_calls": [_tool_call(body)]}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1700000000,
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if script.tool else "stop"}],
        "usage": _usage(script),
    }


def _events(path: str, body: Any, script: Script) -> list[str]:
    if path in dialects.PATHS:
        return dialects.events(path, body, script.words, tool=script.tool)
    with_usage = script.tells or bool((body.get("stream_options") or {}).get("include_usage"))
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": word} for word in script.words]
    calls = script.tool or (script.call is not None and not any(each["role"] == "tool" for each in body["messages"]))
    if calls:
        deltas = [{"role": "assistant", "tool_calls": [{"index": 0, **_tool_call(body, script.call)}]}]
    choices: list[list[dict[str, Any]]] = [[{"index": 0, "delta": each, "finish_reason": None}] for each in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}])
    chunks: list[dict[str, Any]] = [{"choices": each, **({"usage": None} if with_usage else {})} for each in choices]
    if with_usage:
        chunks.append({"choices": [], "usage": _usage(script)})
    head = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": body.get("model"),
    }
    return [f"data: {json.dumps({**head, **chunk})}\n\n" for chunk in chunks] + ["data: [DONE]\n\n"]


def _usage(script: Script) -> dict[str, Any]:
    output = len(script.words)
    return {
        "prompt_tokens": 11,
        "completion_tokens": output,
        "total_tokens": 11 + output,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }


def _tool_call(body: Any, call: dict[str, Any] | None = None) -> dict[str, Any]:
    told = call or {"name": body["tools"][0]["function"]["name"], "arguments": {"city": "Bern"}}
    function = {"name": told["name"], "arguments": json.dumps(told["arguments"])}
    return {"id": "call_1", "type": "function", "function": function}


@asynccontextmanager
async def serve(host: str = "127.0.0.1", port: int = 0, *, without: Collection[str] = ()) -> AsyncIterator[Upstream]:
    """Run one on a free port; `.url` has no path. `without`: paths that it does not know."""
    upstream = Upstream(without=without)
    runner = web.AppRunner(upstream.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        upstream.url = f"http://{host}:{runner.addresses[0][1]}"
        yield upstream
    finally:
        await runner.cleanup()


async def _main(host: str, port: int) -> None:
    async with serve(host, port) as upstream:
        print(upstream.url, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free one; the address is printed")
    given = parser.parse_args()
    asyncio.run(_main(given.host, given.port))

"""The library of an Ollama: what is there and loaded, what is being pulled, and whether a model would fit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiohttp import BodyPartReader, web

from clawloops.errors import BadInput, NotFound
from clawloops.web.context import ACCOUNTS, LIBRARY, PARTS, SENT, SESSION, USER
from clawloops.web.fields import number
from clawloops.web.live import stream
from clawloops.web.pages import render, render_part

OFTEN_S = 1.0
CHUNK_BYTES = 1024 * 1024


async def show(request: web.Request, *, said: str = "") -> web.Response:
    return render(request, "library.html", said=said, **await _values(request))


async def live(request: web.Request) -> web.StreamResponse:
    try:
        await _values(request)
    except NotFound:
        raise web.HTTPNoContent from None  # it was removed: tells EventSource to stay away

    async def part() -> tuple[object, str]:
        text = render_part(request, "partials/library.html", **await _values(request))
        return text, text

    return await stream(request, request[SESSION], "", part, every_s=OFTEN_S)


async def pull(request: web.Request) -> web.Response:
    """Pull it, or only say whether it would fit."""
    sent, library = request[SENT], request.app[LIBRARY]
    if sent.get("do") == "fit":
        found = await library.would_fit(_backend(request), sent.get("model", ""), by=request[USER])
        return await show(request, said=found.text)
    await library.pull(_backend(request), sent.get("model", ""), is_offered="offer" in sent, by=request[USER])
    raise _back(request)


async def cancel(request: web.Request) -> web.Response:
    await request.app[LIBRARY].cancel(request.match_info["pull"], by=request[USER])
    raise _back(request)


async def load(request: web.Request) -> web.Response:
    await request.app[LIBRARY].load(_backend(request), _model(request), by=request[USER])
    raise _back(request)


async def unload(request: web.Request) -> web.Response:
    await request.app[LIBRARY].unload(_backend(request), _model(request), by=request[USER])
    raise _back(request)


async def remove(request: web.Request) -> web.Response:
    await request.app[LIBRARY].remove(_backend(request), _model(request), by=request[USER])
    raise _back(request)


async def offer(request: web.Request) -> web.Response:
    await request.app[LIBRARY].offer(_backend(request), _model(request), by=request[USER])
    raise _back(request)


async def set_context(request: web.Request) -> web.Response:
    text = request[SENT].get("context", "").replace(",", "").strip()
    tokens = number(text, "context", digits=9, refusal="Give a number of tokens.")
    await request.app[LIBRARY].set_context(_backend(request), _model(request), tokens, by=request[USER])
    raise _back(request)


async def bring(request: web.Request) -> web.Response:
    """Import a GGUF file, which is written down as it comes: it may be larger than any form."""
    name, file, sent = "", None, request[SENT]
    sent["for"] = "import"  # for the page, should it be refused
    try:
        while PARTS in request and (part := await request[PARTS].next()) is not None:
            if isinstance(part, BodyPartReader) and part.name == "name":
                name = sent["name"] = (await part.read_chunk(1024)).decode(errors="replace").strip()
            elif isinstance(part, BodyPartReader) and part.name == "file" and part.filename:
                file = part
                break
    except ValueError as error:
        raise BadInput("The file did not arrive whole. Send it again.", field="file") from error
    if file is None:
        raise BadInput("Choose a GGUF file first.", field="file")
    try:
        await request.app[LIBRARY].import_file(_backend(request), name, _chunks(file), by=request[USER])
    except BadInput as error:
        raise BadInput(str(error), field="name" if error.field == "model" else error.field) from error
    raise _back(request)


async def _chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    while chunk := await part.read_chunk(CHUNK_BYTES):
        yield bytes(chunk)


async def _values(request: web.Request) -> dict[str, Any]:
    """What `partials/library.html` shows."""
    return {
        "shelf": await request.app[LIBRARY].shelf(_backend(request), by=request[USER]),
        "people": {each.id: each.name for each in request.app[ACCOUNTS].members()},
    }


def _backend(request: web.Request) -> str:
    return request.match_info["id"]


def _model(request: web.Request) -> str:
    return request[SENT].get("model", "")


def _back(request: web.Request) -> web.HTTPSeeOther:
    return web.HTTPSeeOther(f"/models/library/{_backend(request)}")

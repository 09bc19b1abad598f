"""The real Engine, behind the guard: one request there for one request here, and its answer as it comes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from yarl import URL

Query = Sequence[tuple[str, str]]

_PASSED = ("Content-Type", "Api-Version", "Ostype")  # of the Engine's headers
_LARGEST = 64 << 20  # bytes of an answer that is no stream
_LONGEST_EVENT = 1 << 20  # bytes: somebody else's container may have many labels


class Answered(Exception):  # no failure of ours
    """The Engine said no to a look that had to come first: that is the answer."""

    def __init__(self, status: int, told: Any) -> None:
        super().__init__(f"the Engine answered {status}")
        self.reply = web.json_response(told, status=status)


class Engine:
    """Every method raises aiohttp.ClientError or OSError where the Engine does not answer."""

    def __init__(self, socket: Path) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(socket), limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            auto_decompress=False,
            read_bufsize=_LONGEST_EVENT,
        )

    async def close(self) -> None:
        await self._session.close()

    async def read(self, path: str, query: Query = ()) -> Any:
        """What a GET tells. Raises Answered with whatever is no 200."""
        async with self._ask("GET", path, query) as answer:
            told = json.loads(await _whole(answer))
            if answer.status != 200:
                raise Answered(answer.status, told)
            return told

    async def answer(self, method: str, path: str, query: Query = (), body: Any = None) -> web.Response:
        """A call whose answer is short. `body`: what to write as JSON; None for none."""
        async with self._ask(method, path, query, body) as answer:
            return web.Response(status=answer.status, body=await _whole(answer), headers=_kept(answer))

    async def fill(self, path: str, query: Query, data: aiohttp.StreamReader) -> web.Response:
        """PUT of what is read from the caller. One that breaks off breaks off here: it never looks whole."""
        async with self._ask("PUT", path, query, data) as answer:
            return web.Response(status=answer.status, body=await _whole(answer), headers=_kept(answer))

    async def stream(
        self, request: web.Request, path: str, query: Query, *, line: Callable[[bytes], bytes] | None = None
    ) -> web.StreamResponse:
        """A GET whose answer is passed on as it comes; `line`: what becomes of each of its lines, empty for nothing."""
        async with self._ask("GET", path, query) as answer:
            reply = web.StreamResponse(status=answer.status, headers=_kept(answer))
            await reply.prepare(request)
            try:
                async for data in answer.content if line else answer.content.iter_any():
                    if passed := line(data) if line else data:
                        await reply.write(passed)
            except (aiohttp.ClientError, OSError, ValueError):  # ValueError: a longer line than can be read
                if request.transport is not None:  # so that it does not look whole
                    request.transport.abort()
            return reply

    @asynccontextmanager
    async def _ask(
        self, method: str, path: str, query: Query = (), body: Any = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = URL(f"http://docker{path}?{urlencode(query)}" if query else f"http://docker{path}", encoded=True)
        headers = {"Accept-Encoding": "identity"}  # it would pack archives, only to unpack them on the same machine
        data = body
        if isinstance(body, aiohttp.StreamReader):
            headers["Content-Type"] = "application/x-tar"
        elif body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        async with self._session.request(method, url, headers=headers, data=data, allow_redirects=False) as answer:
            yield answer


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for chunk in answer.content.iter_any():
        data += chunk
        if len(data) > _LARGEST:
            raise ValueError("the Engine's answer is larger than any that we know")
    return bytes(data)


def _kept(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: answer.headers[name] for name in _PASSED if name in answer.headers}

"""One call through: the upstream's bytes go to the caller as they come, and the call is settled before the last one.

A caller who leaves ends the upstream call at once (the handler is cancelled: see `ingress.runner`). An upstream that
breaks off in mid-answer looks broken to the caller too: the connection is aborted, never ended politely.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiohttp
from aiohttp import web

from clawloops.errors import BadInput
from clawloops.gateway import answers, headers
from clawloops.gateway.body import Body
from clawloops.gateway.endpoints import Dialect
from clawloops.gateway.meter import BodyMeter, Meter, StreamMeter
from clawloops.gateway.resolve import VettedResolver
from clawloops.gateway.route import Caller
from clawloops.gateway.upstreams import LiteLLM, Upstream, ways
from clawloops.model.provider import Target
from clawloops.model.usage import Call, Tokens

_log = logging.getLogger(__name__)
_ERROR_BODY = 64 * 1024  # bytes of a backend's error answer that are read
_BROKEN = (aiohttp.ClientError, TimeoutError, OSError)  # by the backend, or, `_CallerLeft`, by the caller


def upstream_session() -> aiohttp.ClientSession:
    """The one session for all upstreams: connections kept, no proxy from the environment, nothing unpacked.

    Connecting may take 10 s, silence 300 s (a large model is loaded, a long prompt is read), an answer for ever.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, resolver=VettedResolver()),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=300),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )


class Proxy:
    """Forwards admitted calls. `settle` is called exactly once for each of them, and must not block."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        litellm_url: str,
        litellm_key: str,
        settle: Callable[[Call], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._session = session
        self._litellm = LiteLLM(litellm_url, litellm_key)
        self._lacking: set[str] = set()  # addresses that were a 404 where the way around them was not; until a restart
        self._settle = settle
        self._now_ms = now_ms

    async def forward(
        self, request: web.Request, caller: Caller, target: Target, body: Body, *, admitted: Callable[[], bool]
    ) -> web.StreamResponse:
        """Make the call and answer `request`. Raises BackendUnavailable without a way to the target, BadInput.

        `admitted`: whether the caller still is; asked with each piece of the answer, and once not, it is cut.
        """
        known = ways(target.backend, target.model.upstream, target.key, body.endpoint, self._litellm)
        ways_there = [way for way in known if way.url not in self._lacking]
        turn = _Turn(self._settle, self._now_ms(), caller, target, body, admitted=admitted)
        hidden = tuple(secret for secret in (target.key, self._litellm.key) if secret)
        try:
            return await self._exchange(request, turn, ways_there, hidden)
        except asyncio.CancelledError:
            turn.end(499)
            raise
        except BaseException:  # a bug of ours, or the journal cannot be written: nothing may look finished
            _abort(request)
            raise

    async def _exchange(
        self, request: web.Request, turn: _Turn, ways_there: Sequence[Upstream], hidden: tuple[str, ...]
    ) -> web.StreamResponse:
        name = turn.target.backend.name
        answer: aiohttp.ClientResponse | None = None
        try:
            answer = await self._ask(request, turn.body, ways_there)
            if answer.status != 200:
                raw = await _head_of(answer)
                _log.warning("backend %r answered %d: %s", name, answer.status, answers.said(raw, hidden))
                refusal = answers.of_backend(name, answer.status, raw, hidden, path=turn.body.endpoint.path)
                return turn.refuse(refusal, answer.headers)
            return await self._stream(request, turn, answer, hidden)
        except BadInput as error:  # nested too deeply to be written
            return turn.refuse(answers.of_error(error))
        except _BROKEN as error:
            left = isinstance(error, _CallerLeft)
            if not left:
                _log.warning("backend %r broke off: %s", name, answers.scrub(repr(error), hidden))
            if turn.reply is None:
                return turn.refuse(answers.unreachable(name))
            turn.end(499 if left else 502)
            _abort(request)
            return turn.reply
        finally:
            if answer is not None:
                answer.close()  # no effect on an answer read to its end: its connection is kept

    async def _ask(self, request: web.Request, body: Body, ways_there: Sequence[Upstream]) -> aiohttp.ClientResponse:
        """The answer of the first way that leads there; one that is a 404 is passed over, and remembered as that."""
        *before, last = ways_there
        for way in before:
            answer = await self._post(request, body, way)
            if answer.status not in (404, 405):
                return answer
            answer.close()
        answer = await self._post(request, body, last)
        if answer.status == 200:
            self._lacking.update(way.url for way in before)
        return answer

    async def _post(self, request: web.Request, body: Body, way: Upstream) -> aiohttp.ClientResponse:
        return await self._session.post(
            way.url,
            data=body.forwarded(way.model, way.extra),
            headers=headers.to_upstream(request.headers, credential=way.credential),
            allow_redirects=False,
        )

    async def _stream(
        self, request: web.Request, turn: _Turn, answer: aiohttp.ClientResponse, hidden: tuple[str, ...]
    ) -> web.StreamResponse:
        events, usage = headers.is_stream(answer.headers), turn.body.endpoint.usage
        turn.meter = meter = (
            StreamMeter(usage, hide_usage=turn.body.hide_usage)
            if events
            else BodyMeter(usage, length=answer.content_length)
        )
        masks = [secret.encode() for secret in hidden] if events else []
        turn.reply = reply = web.StreamResponse(headers=headers.to_caller(answer.headers, length=not events))
        await _to_caller(reply.prepare(request))
        async for piece in answer.content.iter_any():
            if not turn.admitted():
                turn.end(401)
                _abort(request)
                return reply
            turn.began()
            passed = _masked(meter.feed(piece), masks)
            if meter.finished:
                turn.end(200)
            if passed:
                await _to_caller(reply.write(passed))
        if events and not meter.finished and not headers.ends_by_itself(answer.headers):
            raise aiohttp.ClientPayloadError("the stream ended without its end mark")
        turn.end(200)
        if rest := _masked(meter.rest(), masks):
            await _to_caller(reply.write(rest))
        await _to_caller(reply.write_eof())
        return reply


class _CallerLeft(ConnectionAbortedError):
    """The caller's connection is closed. A class of its own, because aiohttp has one class for both sides."""


async def _to_caller(writing: Awaitable[object]) -> None:
    try:
        await writing
    except ConnectionResetError as error:
        raise _CallerLeft from error


class _Turn:
    """The books of one call."""

    def __init__(
        self,
        settle: Callable[[Call], None],
        at: int,
        caller: Caller,
        target: Target,
        body: Body,
        *,
        admitted: Callable[[], bool],
    ) -> None:
        self.target = target
        self.body = body
        self.admitted = admitted
        self.meter: Meter | None = None
        self.reply: web.StreamResponse | None = None  # once its header is on the way
        self._settle = settle
        self._at = at
        self._caller = caller
        self._start = time.monotonic()
        self._first_ms: int | None = None
        self._ended = False

    def began(self) -> None:
        if self._first_ms is None:
            self._first_ms = self._elapsed()

    def end(self, status: int) -> None:
        """Settle, once. What a backend counted is believed; an answer that was cut is counted as far as it came."""
        if self._ended:
            return
        self._settle(
            Call(
                id=secrets.token_hex(16),
                at=self._at,
                user_id=self._caller.user_id,
                runtime_id=self._caller.runtime_id,
                model=self.target.model.name,
                backend_id=self.target.backend.id,
                tokens=self.meter.tokens() if self.meter else Tokens(),
                status=status,
                first_ms=self._first_ms,
                total_ms=self._elapsed(),
                key_id=self._caller.key_id,
            )
        )
        self._ended = True

    def refuse(self, refusal: answers.Refusal, given: Mapping[str, str] | None = None) -> web.Response:
        """Settle with the refusal's status, and the answer that says it. `given` is the upstream's header, if any."""
        self.end(refusal.status)
        reply = respond(refusal, self.body.endpoint.dialect)
        if given and "Retry-After" in given:
            reply.headers["Retry-After"] = given["Retry-After"]
        return reply

    def _elapsed(self) -> int:
        return int((time.monotonic() - self._start) * 1000)


def respond(refusal: answers.Refusal, dialect: Dialect) -> web.Response:
    """The HTTP answer of a refusal."""
    return web.Response(
        status=refusal.status,
        body=refusal.body(dialect),
        content_type="application/json",
        headers={"Server": headers.USER_AGENT},
    )


def _masked(data: bytes, masks: list[bytes]) -> bytes:
    """`data` without the secrets: a backend's error event may quote one. The meter hands on whole events only."""
    for mask in masks:
        if mask in data:
            data = data.replace(mask, b"[secret]")
    return data


async def _head_of(answer: aiohttp.ClientResponse) -> bytes:
    head = bytearray()
    async for piece in answer.content.iter_any():
        head += piece
        if len(head) >= _ERROR_BODY:
            break
    return bytes(head[:_ERROR_BODY])


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()

"""One call through: the upstream's bytes go to the caller as they come, and the call is settled before the last one.

A caller who leaves ends the upstream call at once (the handler is cancelled: see `ingress.runner`). An upstream that
breaks off in mid-answer looks broken to the caller too: the connection is aborted, never ended politely.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web

from clawloops.errors import ClawLoopsError
from clawloops.gateway import answers, headers
from clawloops.gateway.body import Body
from clawloops.gateway.endpoints import Dialect
from clawloops.gateway.meter import BodyMeter, Meter, StreamMeter
from clawloops.gateway.queue import Seat
from clawloops.gateway.reach import BROKEN, Reach, Reached, Unanswered
from clawloops.gateway.resolve import VettedResolver
from clawloops.gateway.route import Caller
from clawloops.model.provider import Route
from clawloops.model.usage import Call, Tokens

_log = logging.getLogger(__name__)
_TAKES_S = 30.0


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

    def __init__(self, reach: Reach, *, settle: Callable[[Call], None], now_ms: Callable[[], int]) -> None:
        self._reach = reach
        self._settle = settle
        self._now_ms = now_ms

    async def forward(
        self, request: web.Request, caller: Caller, route: Route, body: Body, *, admitted: Callable[[], bool]
    ) -> web.StreamResponse:
        """Make the call and answer `request`.

        `admitted`: whether the caller still is; asked with each piece of the answer, and once not, it is cut.
        """
        turn = _Turn(self._settle, self._now_ms(), caller, route, body, admitted=admitted)
        try:
            return await self._exchange(request, turn)
        except asyncio.CancelledError:
            turn.end(499)
            raise
        except BaseException:  # a bug of ours, or the journal cannot be written: nothing may look finished
            _abort(request)
            raise

    async def _exchange(self, request: web.Request, turn: _Turn) -> web.StreamResponse:
        try:
            reached = await self._reach.answer(request.headers, turn.route, turn.caller, turn.body)
        except Unanswered as failed:
            turn.backend_id = failed.backend_id
            return turn.refuse(failed.refusal, retry_after=failed.retry_after)
        except ClawLoopsError as error:  # no place speaks this dialect, or it is nested too deeply to be written
            return turn.refuse(answers.of_error(error))
        turn.backend_id, turn.seat = reached.target.backend.id, reached.seat
        try:
            return await self._stream(request, turn, reached)
        except BROKEN as error:
            left = isinstance(error, _CallerLeft)
            if not left:
                hidden = self._reach.secrets_of(turn.route)
                _log.warning(
                    "backend %r broke off: %s", reached.target.backend.name, answers.scrub(repr(error), hidden)
                )
            turn.end(499 if left else 502)
            _abort(request)
            return turn.reply or web.Response()
        finally:
            reached.close()

    async def _stream(self, request: web.Request, turn: _Turn, reached: Reached) -> web.StreamResponse:
        answer = reached.answer
        events, usage = headers.is_stream(answer.headers), turn.body.endpoint.usage
        turn.meter = meter = (
            StreamMeter(usage, hide_usage=turn.body.hide_usage)
            if events
            else BodyMeter(usage, length=answer.content_length)
        )
        masks = [secret.encode() for secret in self._reach.secrets_of(turn.route)] if events else []
        header = headers.to_caller(answer.headers, length=not events)
        if reached.seat is not None:
            header |= headers.of_queue(reached.seat.place, reached.seat.expected_s, reached.seat.waited_s)
        turn.reply = reply = web.StreamResponse(headers=header)
        turn.began()
        await _to_caller(reply.prepare(request))
        write = _unhurried if reached.seat is None else _in_time
        piece = reached.first
        while piece:
            if not turn.admitted():
                turn.end(401)
                _abort(request)
                return reply
            passed = _masked(meter.feed(piece), masks)
            if meter.finished:
                turn.end(200)
            if passed:
                await write(reply, passed)
            piece = await answer.content.readany()
        reached.close()  # the backend is through with it, however slowly the caller takes the rest
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


async def _unhurried(reply: web.StreamResponse, piece: bytes) -> None:
    await _to_caller(reply.write(piece))


async def _in_time(reply: web.StreamResponse, piece: bytes) -> None:
    """Others may wait for the caller's seat: one who takes nothing for `_TAKES_S` counts as gone."""
    try:
        async with asyncio.timeout(_TAKES_S):
            await _to_caller(reply.write(piece))
    except TimeoutError as error:
        raise _CallerLeft from error


class _Turn:
    """The books of one call."""

    def __init__(
        self,
        settle: Callable[[Call], None],
        at: int,
        caller: Caller,
        route: Route,
        body: Body,
        *,
        admitted: Callable[[], bool],
    ) -> None:
        self.caller = caller
        self.route = route
        self.body = body
        self.backend_id = route.targets[0].backend.id  # until another one has answered
        self.admitted = admitted
        self.meter: Meter | None = None
        self.seat: Seat | None = None
        self.reply: web.StreamResponse | None = None  # once its header is on the way
        self._settle = settle
        self._at = at
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
                user_id=self.caller.user_id,
                runtime_id=self.caller.runtime_id,
                model=self.route.model.name,
                backend_id=self.backend_id,
                tokens=self.meter.tokens() if self.meter else Tokens(),
                status=status,
                first_ms=self._first_ms,
                total_ms=self._elapsed(),
                key_id=self.caller.key_id,
                queue_ms=int(self.seat.waited_s * 1000) if self.seat else 0,
                held_ms=int(self.seat.held_s * 1000) if self.seat else 0,
            )
        )
        self._ended = True

    def refuse(self, refusal: answers.Refusal, *, retry_after: str = "") -> web.Response:
        """Settle with the refusal's status, and the answer that says it."""
        self.end(refusal.status)
        reply = respond(refusal, self.body.endpoint.dialect)
        if retry_after:
            reply.headers["Retry-After"] = retry_after
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


def _abort(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()

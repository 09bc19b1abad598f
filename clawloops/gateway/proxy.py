"""One call through: the upstream's bytes go to the caller as they come, and the call is settled before the last one.

A caller who leaves ends the upstream call at once (the handler is cancelled: see `ingress.runner`). An upstream that
breaks off in mid-answer looks broken to the caller too: the connection is aborted, never ended politely.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web

from clawloops.clock import now_ms
from clawloops.errors import ClawLoopsError
from clawloops.gateway import answers, headers
from clawloops.gateway.body import Body
from clawloops.gateway.books import Books, Turn
from clawloops.gateway.budgets import Exhausted
from clawloops.gateway.circles import Circling
from clawloops.gateway.endpoints import Dialect
from clawloops.gateway.meter import BodyMeter, StreamMeter
from clawloops.gateway.reach import BROKEN, Asked, Reach, Reached, Unanswered
from clawloops.gateway.resolve import VettedResolver
from clawloops.gateway.route import Caller
from clawloops.model.provider import Route

_log = logging.getLogger(__name__)
_TAKES_S = 30.0
_SOON_S = 60  # a caller who is to wait for no longer than this may try again by itself


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
    """Forwards admitted calls. Each of them is in the books, exactly once."""

    def __init__(self, reach: Reach, books: Books) -> None:
        self._reach = reach
        self._books = books

    async def forward(
        self, request: web.Request, caller: Caller, route: Route, body: Body, *, admitted: Callable[[], bool]
    ) -> web.StreamResponse:
        """Make the call and answer `request`. Raises Unavailable when it cannot be written down.

        `admitted`: whether the caller still is; asked with each piece of the answer, and once not, it is cut.
        """
        try:
            turn = self._books.open(caller, route, body, admitted=admitted)
        except Exhausted as error:
            return _refuse_exhausted(error, body.endpoint.dialect)
        except Circling as error:
            return _for_good(respond(answers.held(str(error)), body.endpoint.dialect))
        try:
            async with asyncio.timeout(None) as limit:
                turn.limit = limit
                try:
                    return await self._exchange(request, turn)
                finally:
                    turn.limit = None
        except Exhausted as error:
            return await _cut(request, turn, error)
        except TimeoutError:
            if turn.exhausted is None:
                raise
            return await _cut(request, turn, turn.exhausted)
        except asyncio.CancelledError:
            turn.end(499)
            raise
        except BaseException:  # a bug of ours, or the journal cannot be written: nothing may look finished
            _abort(request)
            raise
        finally:
            turn.close()

    async def _exchange(self, request: web.Request, turn: Turn) -> web.StreamResponse:
        try:
            reached = await self._reach.answer(
                Asked(request.headers, turn.caller, turn.route, turn.body, turn.payer.is_background, turn.asking)
            )
        except Unanswered as failed:
            turn.backend_id = failed.backend_id
            return _refuse(turn, failed.refusal, retry_after=failed.retry_after)
        except ClawLoopsError as error:  # no place speaks this dialect, or it is nested too deeply to be written
            return _refuse(turn, answers.of_error(error))
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

    async def _stream(self, request: web.Request, turn: Turn, reached: Reached) -> web.StreamResponse:
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
        turn.began()
        if not events and answer.content_length == len(reached.first) and turn.admitted():
            whole = meter.feed(reached.first)
            turn.end(200)
            return web.Response(body=whole, headers=header)
        turn.reply = reply = web.StreamResponse(headers=header)
        await _to_caller(reply.prepare(request))
        piece = reached.first
        while piece:
            if not turn.admitted():
                turn.end(401)
                _abort(request)
                return reply
            passed = _masked(meter.feed(piece), masks)
            if meter.finished:
                turn.end(200)
            elif turn.hold:
                turn.grow()
            if passed:
                await _in_time(reply, passed)
            piece = await answer.content.readany()
        reached.close()  # the backend is through with it, however slowly the caller takes the rest
        if events and not meter.finished and not headers.ends_by_itself(answer.headers):
            raise aiohttp.ClientPayloadError("the stream ended without its end mark")
        turn.end(200)
        if rest := _masked(meter.rest(), masks):
            await _in_time(reply, rest)
        await _to_caller(reply.write_eof())
        return reply


class _CallerLeft(ConnectionAbortedError):
    """The caller's connection is closed. A class of its own, because aiohttp has one class for both sides."""


async def _to_caller(writing: Awaitable[object]) -> None:
    try:
        await writing
    except ConnectionResetError as error:
        raise _CallerLeft from error


async def _in_time(reply: web.StreamResponse, piece: bytes) -> None:
    """Others may wait for what the call holds: a caller who takes nothing for `_TAKES_S` counts as gone."""
    try:
        async with asyncio.timeout(_TAKES_S):
            await _to_caller(reply.write(piece))
    except TimeoutError as error:
        raise _CallerLeft from error


def _refuse(turn: Turn, refusal: answers.Refusal, *, retry_after: str = "") -> web.Response:
    """Settle with the refusal's status, and the answer that says it."""
    turn.end(refusal.status)
    reply = respond(refusal, turn.body.endpoint.dialect)
    if retry_after:
        reply.headers["Retry-After"] = retry_after
    return reply


def _refuse_exhausted(error: Exhausted, dialect: Dialect) -> web.Response:
    reply = respond(_refusal_of(error), dialect)
    seconds = 1 if error.is_passing else max(1, -(-(error.resets_at - now_ms()) // 1000))
    if seconds > _SOON_S:  # not told when: OpenClaw would wait for it without a word to the person at it
        return _for_good(reply)
    reply.headers["Retry-After"] = str(seconds)
    return reply


def _for_good(reply: web.Response) -> web.Response:
    """A refusal that the next try gets too: OpenAI's and Anthropic's SDKs would make two more by themselves."""
    reply.headers["X-Should-Retry"] = "false"
    return reply


def _refusal_of(error: Exhausted) -> answers.Refusal:
    return answers.exhausted(error.budget, resets_at=error.resets_at, is_passing=error.is_passing)


async def _cut(request: web.Request, turn: Turn, error: Exhausted) -> web.StreamResponse:
    """End a call whose budget ended before it, and say so where that is still possible."""
    turn.exhausted = error
    turn.end(429)
    reply, endpoint = turn.reply, turn.body.endpoint
    if reply is None:
        return _refuse_exhausted(error, endpoint.dialect)
    if not headers.is_stream(reply.headers):
        _abort(request)
        return reply
    try:
        await _in_time(reply, _refusal_of(error).event(endpoint))
        await _to_caller(reply.write_eof())
    except _CallerLeft:
        _abort(request)
    return reply


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

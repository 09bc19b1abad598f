"""One call through: the upstream's bytes go to the caller as they come, and the call is settled before the last one.

A caller who leaves ends the upstream call at once (the handler is cancelled: see `ingress.runner`). An upstream that
breaks off in mid-answer looks broken to the caller too: the connection is aborted, never ended politely.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
from aiohttp import web

from clawloops.gateway import answers, headers
from clawloops.gateway.body import Body
from clawloops.gateway.meter import BodyMeter, Meter, StreamMeter
from clawloops.gateway.route import Caller
from clawloops.gateway.upstreams import Upstream, upstream_of
from clawloops.model.provider import Target
from clawloops.model.usage import Call, Tokens

_log = logging.getLogger(__name__)
_ERROR_BODY = 64 * 1024  # bytes of a backend's error answer that are read
_BROKEN = (aiohttp.ClientError, TimeoutError, OSError)


def upstream_session() -> aiohttp.ClientSession:
    """The one session for all upstreams: connections kept, no proxy from the environment, nothing unpacked.

    Connecting may take 10 s, silence 300 s (a large model is loaded, a long prompt is read), an answer for ever.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
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
        self._litellm_url = litellm_url
        self._litellm_key = litellm_key
        self._settle = settle
        self._now_ms = now_ms

    async def forward(
        self, request: web.Request, caller: Caller, target: Target, path: str, body: Body
    ) -> web.StreamResponse:
        """Make the call and answer `request`. Raises BackendUnavailable without a way to the target, BadInput."""
        upstream = upstream_of(
            target.backend,
            target.model.upstream,
            target.key,
            path,
            litellm_url=self._litellm_url,
            litellm_key=self._litellm_key,
        )
        sent = body.forwarded(upstream.model, upstream.extra)
        turn = _Turn(self._settle, self._now_ms(), caller, target)
        hidden = tuple(secret for secret in (target.key, self._litellm_key) if secret)
        try:
            return await self._exchange(request, turn, upstream, sent, hidden, hide_usage=body.hide_usage)
        except asyncio.CancelledError:
            turn.end(499)
            raise
        except BaseException:  # a bug of ours, or the journal cannot be written: nothing may look finished
            _abort(request)
            raise

    async def _exchange(
        self,
        request: web.Request,
        turn: _Turn,
        upstream: Upstream,
        sent: bytes,
        hidden: tuple[str, ...],
        *,
        hide_usage: bool,
    ) -> web.StreamResponse:
        name = turn.target.backend.name
        answer: aiohttp.ClientResponse | None = None
        try:
            answer = await self._session.post(
                upstream.url,
                data=sent,
                headers=headers.to_upstream(request.headers, key=upstream.bearer),
                allow_redirects=False,
            )
            if answer.status != 200:
                raw = await _head_of(answer)
                _log.warning("backend %r answered %d: %s", name, answer.status, answers.said(raw, hidden))
                return turn.refuse(answers.of_backend(name, answer.status, raw, hidden), answer.headers)
            return await self._stream(request, turn, answer, hidden, hide_usage=hide_usage)
        except _CallerLeft:
            turn.end(499)
            _abort(request)
            raise
        except _BROKEN as error:
            _log.warning("backend %r broke off: %s", name, answers.scrub(repr(error), hidden))
            if turn.reply is None:
                return turn.refuse(answers.unreachable(name))
            turn.end(502)
            _abort(request)
            return turn.reply
        finally:
            if answer is not None:
                answer.close()  # no effect on an answer read to its end: its connection is kept

    async def _stream(
        self,
        request: web.Request,
        turn: _Turn,
        answer: aiohttp.ClientResponse,
        hidden: tuple[str, ...],
        *,
        hide_usage: bool,
    ) -> web.StreamResponse:
        events = headers.is_stream(answer.headers)
        turn.meter = meter = StreamMeter(hide_usage=hide_usage) if events else BodyMeter(length=answer.content_length)
        masks = [secret.encode() for secret in hidden] if events else []
        turn.reply = reply = web.StreamResponse(headers=headers.to_caller(answer.headers, length=not events))
        await _to_caller(reply.prepare(request))
        async for piece in answer.content.iter_any():
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

    def __init__(self, settle: Callable[[Call], None], at: int, caller: Caller, target: Target) -> None:
        self.target = target
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
            )
        )
        self._ended = True

    def refuse(self, refusal: answers.Refusal, given: Mapping[str, str] | None = None) -> web.Response:
        """Settle with the refusal's status, and the answer that says it. `given` is the upstream's header, if any."""
        self.end(refusal.status)
        reply = respond(refusal)
        if given and "Retry-After" in given:
            reply.headers["Retry-After"] = given["Retry-After"]
        return reply

    def _elapsed(self) -> int:
        return int((time.monotonic() - self._start) * 1000)


def respond(refusal: answers.Refusal) -> web.Response:
    """The HTTP answer of a refusal."""
    return web.Response(
        status=refusal.status,
        body=refusal.body(),
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

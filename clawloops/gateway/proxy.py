"""One call through: the upstream's bytes go to the caller as they come, and the call is settled before the last one.

A caller who leaves ends the upstream call at once (the handler is cancelled: see `wire.server`). An upstream that
breaks off in mid-answer looks broken to the caller too: the connection is aborted, never ended politely.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from clawloops.clock import now_ms
from clawloops.errors import ClawLoopsError
from clawloops.gateway import answers, headers
from clawloops.gateway.body import Body
from clawloops.gateway.books import Books, Turn
from clawloops.gateway.budgets import Exhausted
from clawloops.gateway.circles import Circling
from clawloops.gateway.endpoints import Dialect
from clawloops.gateway.meter import BodyMeter, StreamMeter
from clawloops.gateway.reach import Asked, Reach, Reached, Unanswered
from clawloops.gateway.route import Caller
from clawloops.model.provider import Route
from clawloops.wire.answer import BrokenOff
from clawloops.wire.request import CallerLeft, Reply, Request

_log = logging.getLogger(__name__)
_SOON_S = 60  # a caller who is to wait for no longer than this may try again by itself


class Proxy:
    """Forwards admitted calls. Each of them is in the books, exactly once."""

    def __init__(self, reach: Reach, books: Books) -> None:
        self._reach = reach
        self._books = books

    async def forward(
        self, request: Request, caller: Caller, route: Route, body: Body, *, admitted: Callable[[], bool]
    ) -> Reply | None:
        """Make the call; the answer is returned, or has been given piece by piece.

        `admitted`: whether the caller still is; asked with each piece of the answer, and once not, it is cut.
        Raises Unavailable when it cannot be written down.
        """
        try:
            turn = self._books.open(caller, route, body, admitted=admitted)
        except Exhausted as error:
            return _refuse_exhausted(error, body.endpoint.dialect)
        except Circling as error:
            return respond(answers.held(str(error)), body.endpoint.dialect, _FOR_GOOD)
        turn.task = task = asyncio.current_task()
        try:
            return await self._exchange(request, turn)
        except Exhausted as error:
            return await _cut(request, turn, error)
        except asyncio.CancelledError:
            turn.task = None
            if turn.exhausted is None or task is None or task.uncancel():  # the caller left, or we stop
                turn.end(499)
                raise
            return await _cut(request, turn, turn.exhausted)
        except BaseException:  # a bug of ours, or the journal cannot be written: nothing may look finished
            request.abort()
            raise
        finally:
            turn.close()

    async def _exchange(self, request: Request, turn: Turn) -> Reply | None:
        try:
            reached = await self._reach.answer(
                Asked(request.header, turn.caller, turn.route, turn.body, turn.payer.is_background, turn.asking)
            )
        except Unanswered as failed:
            turn.backend_id = failed.backend_id
            return _refuse(turn, failed.refusal, retry_after=failed.retry_after)
        except ClawLoopsError as error:  # no place speaks this dialect, or it is nested too deeply to be written
            return _refuse(turn, answers.of_error(error))
        try:
            return await self._stream(request, turn, reached)
        except CallerLeft:
            turn.end(499)
            raise
        except OSError as error:
            hidden = self._reach.secrets_of(turn.route)
            _log.warning("backend %r broke off: %s", reached.target.backend.name, answers.scrub(repr(error), hidden))
            turn.end(502)
            request.abort()
            return None
        finally:
            reached.close()

    async def _stream(self, request: Request, turn: Turn, reached: Reached) -> Reply | None:
        answer = reached.answer
        events, usage = headers.is_stream(answer.headers), turn.body.endpoint.usage
        turn.meter = meter = (
            StreamMeter(usage, hide_usage=turn.body.hide_usage)
            if events
            else BodyMeter(usage, length=answer.content_length)
        )
        masks = [secret.encode() for secret in self._reach.secrets_of(turn.route)] if events else []
        header = headers.to_caller(answer.headers)
        if reached.seat is not None:
            header |= headers.of_queue(reached.seat.place, reached.seat.expected_s, reached.seat.waited_s)
        turn.began()
        if not events and answer.content_length == len(reached.first) and turn.admitted():
            whole = meter.feed(reached.first)
            turn.end(200)
            return Reply(200, whole, header)
        request.begin(header, length=None if events else answer.content_length)
        turn.has_begun = True
        piece = reached.first
        while piece:
            if not turn.admitted():
                turn.end(401)
                request.abort()
                return None
            passed = _masked(meter.feed(piece), masks)
            if meter.finished:
                turn.end(200)
            elif turn.hold:
                turn.grow()
            if passed:
                await request.write(passed)
            piece = await answer.readany()
        reached.close()  # the backend is through with it, however slowly the caller takes the rest
        if events and not meter.finished and not answer.ends_by_itself:
            raise BrokenOff("the stream ended without its end mark")
        turn.end(200)
        if rest := _masked(meter.rest(), masks):
            await request.write(rest)
        request.end()
        return None


def _refuse(turn: Turn, refusal: answers.Refusal, *, retry_after: str = "") -> Reply:
    """Settle with the refusal's status, and the answer that says it."""
    turn.end(refusal.status)
    return respond(refusal, turn.body.endpoint.dialect, {"Retry-After": retry_after} if retry_after else None)


def _refuse_exhausted(error: Exhausted, dialect: Dialect) -> Reply:
    seconds = 1 if error.is_passing else max(1, -(-(error.resets_at - now_ms()) // 1000))
    # Where it is long it is not told when: OpenClaw would wait for it without a word to the person at it.
    header = {"Retry-After": str(seconds)} if seconds <= _SOON_S else _FOR_GOOD
    return respond(_refusal_of(error), dialect, header)


# Of a refusal that the next try gets too: OpenAI's and Anthropic's SDKs would make two more by themselves.
_FOR_GOOD = {"X-Should-Retry": "false"}


def _refusal_of(error: Exhausted) -> answers.Refusal:
    return answers.exhausted(error.budget, resets_at=error.resets_at, is_passing=error.is_passing)


async def _cut(request: Request, turn: Turn, error: Exhausted) -> Reply | None:
    """End a call whose budget ended before it, and say so where that is still possible."""
    turn.exhausted, turn.task = error, None
    turn.end(429)
    endpoint = turn.body.endpoint
    if not turn.has_begun:
        return _refuse_exhausted(error, endpoint.dialect)
    if isinstance(turn.meter, StreamMeter):
        await request.write(_refusal_of(error).event(endpoint))
        request.end()
    else:
        request.abort()
    return None


def respond(refusal: answers.Refusal, dialect: Dialect, header: Mapping[str, str] | None = None) -> Reply:
    """The HTTP answer of a refusal."""
    return Reply(refusal.status, refusal.body(dialect), {**headers.OF_JSON, **(header or {})})


def _masked(data: bytes, masks: list[bytes]) -> bytes:
    """`data` without the secrets: a backend's error event may quote one. The meter hands on whole events only."""
    for mask in masks:
        if mask in data:
            data = data.replace(mask, b"[secret]")
    return data

"""Gets an answer for a call: the places of its name in order, their keys in turn, and again after a short wait.

All of it happens before the first byte has gone to the caller; what breaks after that is the caller's to see.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from clawloops.errors import ClawLoopsError
from clawloops.gateway import answers, headers
from clawloops.gateway.body import Body
from clawloops.gateway.health import KEY_REFUSED_S, KEY_SLOWED_S, Health
from clawloops.gateway.queue import MOST_WAITING, Queue, QueueFull, Seat
from clawloops.gateway.route import Caller
from clawloops.gateway.upstreams import LiteLLM, Upstream, limit_in, ways
from clawloops.model.provider import Backend, Credential, Route, Target
from clawloops.wire.answer import Answer
from clawloops.wire.client import Client

_log = logging.getLogger(__name__)
_ERROR_BODY = 64 * 1024  # bytes of a backend's error answer that are read
_PAUSES_S = (0.25, 1.0)  # between the rounds through all places; each up to half as long again
_PATIENCE_S = 20.0  # no round begins later than this after the first
_SOON_S = 3.0  # a backend that asks for no longer a pause than this is asked once more
_DOWN = (502, 503, 504)  # what a backend or the proxy before it says when it does not work


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as it came in."""

    header: Mapping[str, str]  # the caller's, case-insensitive
    caller: Caller
    route: Route
    body: Body
    is_background: bool
    asking: Callable[[Target | None, Seat | None], None]  # told before each try, and (None) that one has failed


@dataclass(slots=True)
class Reached:
    """An answer with status 200. Close it when done with it."""

    target: Target
    answer: Answer
    first: bytes  # the first piece of its body; empty when it has none
    seat: Seat | None  # where the backend serves few at once

    def close(self) -> None:
        """No more of it is read: the seat is the next one's, and a connection that is not read to its end is cut."""
        self.answer.close()
        if self.seat is not None:
            self.seat.leave()


class Next(Enum):
    """What may do better after a refusal."""

    KEY = "key"  # another key of the same backend, or another place
    PLACE = "place"
    NOTHING = "nothing"  # the call itself is at fault


class Unanswered(Exception):
    """Nobody answered with 200; `refusal` says why, in words for the caller."""

    def __init__(
        self,
        refusal: answers.Refusal,
        *,
        backend_id: str,
        next_: Next,
        retry_after: str = "",
        is_passing: bool = False,
    ) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.backend_id = backend_id  # of the backend that refused
        self.next = next_
        self.retry_after = retry_after  # as the header has it
        self.is_passing = is_passing  # whether a moment later may be better


class Reach:
    """Calls backends. One for all calls, because what one learns of a backend spares the next."""

    def __init__(self, client: Client, litellm: LiteLLM, health: Health, queue: Queue) -> None:
        self._client = client
        self._litellm = litellm
        self._health = health
        self._queue = queue
        self._lacking: set[str] = set()  # addresses that were a 404 where the way around them was not; until a restart

    def secrets_of(self, route: Route) -> tuple[str, ...]:
        """What must not show in anything that its backends say."""
        keys = [each.key for target in route.targets for each in target.credentials]
        return tuple(secret for secret in (*keys, self._litellm.key) if secret)

    async def answer(self, asked: Asked) -> Reached:
        """Raises Unanswered, or BadInput for a dialect that none of its places speaks."""
        begun = time.monotonic()
        for pause in _PAUSES_S:
            try:
                return await self._round(asked)
            except Unanswered as failed:
                if not failed.is_passing or time.monotonic() - begun > _PATIENCE_S:
                    raise
            await asyncio.sleep(pause * (1 + random.random() / 2))  # noqa: S311  # spreads retries, keeps no secret
        return await self._round(asked)

    async def _round(self, asked: Asked) -> Reached:
        """Each place once, with each of its keys."""
        route = asked.route
        failures: list[Unanswered] = []
        unspoken: ClawLoopsError | None = None
        for target in self._awake(route.targets):
            for credential in self._keys(target, asked.caller.user_id):
                key = credential.key if credential else None
                try:
                    known = ways(target.backend, target.upstream, key, asked.body.endpoint, self._litellm)
                    return await self._try(asked, target, credential, known=known)
                except ClawLoopsError as error:  # it cannot be reached in this dialect, whatever the key
                    unspoken = error
                    break
                except Unanswered as failed:
                    failures.append(failed)
                    if failed.next is not Next.KEY:
                        break
            if failures and failures[-1].next is Next.NOTHING:
                break
        if not failures:
            raise unspoken or self._nobody(route)
        last = failures[-1]
        last.is_passing = any(each.is_passing for each in failures) and last.next is not Next.NOTHING
        raise last

    def _awake(self, targets: Sequence[Target]) -> Iterator[Target]:
        for target in targets:
            if self._health.admits(target.backend.id, time.monotonic()):
                yield target

    def _keys(self, target: Target, user_id: str) -> Sequence[Credential | None]:
        """Those that were set aside come last: where there is no other, the backend itself says what is wrong."""
        keys = target.credentials_for(user_id)
        if len(keys) < 2:
            return keys
        now = time.monotonic()
        return sorted(keys, key=lambda each: each is not None and self._health.key_is_aside(each.id, now))

    async def _seat(self, backend: Backend, asked: Asked) -> Seat | None:
        try:
            return await self._queue.enter(
                backend, asked.caller.user_id, asked.route.model.name, is_background=asked.is_background
            )
        except QueueFull:
            refusal = answers.queue_full(backend.name, MOST_WAITING)
            raise Unanswered(refusal, backend_id=backend.id, next_=Next.PLACE) from None

    def _nobody(self, route: Route) -> Unanswered:
        """Every place rests, or has no key for this member."""
        now = time.monotonic()
        waits = [(self._health.wait_s(each.backend.id, now), each.backend) for each in route.targets]
        resting = [each for each in waits if each[0] > 0]
        wait, backend = min(resting or waits, key=lambda each: each[0])
        if not resting:
            return Unanswered(answers.keyless(backend.name), backend_id=backend.id, next_=Next.NOTHING)
        seconds = max(1, math.ceil(wait))
        refusal = answers.resting(backend.name, seconds)
        return Unanswered(refusal, backend_id=backend.id, next_=Next.PLACE, retry_after=str(seconds))

    async def _try(
        self,
        asked: Asked,
        target: Target,
        credential: Credential | None,
        *,
        known: Sequence[Upstream],
    ) -> Reached:
        backend = target.backend
        seat: Seat | None = None
        answer: Answer | None = None
        reached: Reached | None = None
        try:
            seat = await self._seat(backend, asked)
            asked.asking(target, seat)
            answer = await self._ask(asked, backend, [way for way in known if way.url not in self._lacking])
            if answer.status == 200:
                reached = Reached(target, answer, await answer.readany(), seat)
                self._health.worked(backend.id)
                return reached
            raw = await _head_of(answer)
        except OSError as error:
            _close(answer)
            asked.asking(None, None)
            why = answers.scrub(_why(error), self.secrets_of(asked.route))
            _log.warning("backend %r broke off: %s", backend.name, why)
            self._failed(backend.id, why)
            refusal = answers.unreachable(backend.name)
            raise Unanswered(refusal, backend_id=backend.id, next_=Next.PLACE, is_passing=True) from error
        except BaseException:
            _close(answer)
            self._health.untried(backend.id)
            raise
        finally:
            if reached is None and seat is not None:
                seat.leave()
        _close(answer)
        asked.asking(None, None)
        hidden = self.secrets_of(asked.route)
        _log.warning("backend %r answered %d: %s", backend.name, answer.status, answers.said(raw, hidden))
        refusal = answers.of_backend(backend.name, answer.status, raw, hidden, path=asked.body.endpoint.path)
        raise self._verdict(backend.id, credential, answer, refusal)

    def _verdict(
        self,
        backend_id: str,
        credential: Credential | None,
        answer: Answer,
        refusal: answers.Refusal,
    ) -> Unanswered:
        """What a refusal means for the places and keys that are left."""
        status, retry_after = answer.status, answer.headers.get("retry-after", "")
        now = time.monotonic()
        seconds = float(retry_after) if retry_after.isdigit() else None

        def unanswered(next_: Next, *, is_passing: bool = False) -> Unanswered:
            return Unanswered(
                refusal, backend_id=backend_id, next_=next_, retry_after=retry_after, is_passing=is_passing
            )

        if status in _DOWN:
            self._failed(backend_id, f"HTTP {status}")
            return unanswered(Next.PLACE, is_passing=seconds is None or seconds <= _SOON_S)
        self._health.worked(backend_id)  # it is there, and speaks
        if status in (401, 403):
            if credential is not None:
                self._health.set_key_aside(credential.id, now, KEY_REFUSED_S)
            return unanswered(Next.KEY)
        if status in (402, 429):
            if credential is not None:
                self._health.set_key_aside(credential.id, now, KEY_SLOWED_S if seconds is None else seconds)
            return unanswered(Next.KEY, is_passing=seconds is not None and seconds <= _SOON_S)
        return unanswered(Next.NOTHING if 400 <= status < 500 and status not in (404, 408) else Next.PLACE)

    def _failed(self, backend_id: str, why: str) -> None:
        self._health.failed(backend_id, why, time.monotonic(), at=time.time_ns() // 1_000_000)

    async def _ask(self, asked: Asked, backend: Backend, known: Sequence[Upstream]) -> Answer:
        """The answer of the first way that leads there; one that is a 404 is passed over, and remembered as that."""
        *before, last = known
        for way in before:
            answer = await self._post(asked, backend, way)
            if answer.status not in (404, 405):
                return answer
            answer.close()
        answer = await self._post(asked, backend, last)
        if answer.status == 200:
            self._lacking.update(way.url for way in before)
        return answer

    async def _post(self, asked: Asked, backend: Backend, way: Upstream) -> Answer:
        return await self._client.post(
            way.url,
            asked.body.forwarded(way.model, way.extra, limit_in=limit_in(backend, asked.body.endpoint)),
            headers.to_upstream(asked.header, credential=way.credential),
        )


def _close(answer: Answer | None) -> None:
    if answer is not None:
        answer.close()  # no effect on an answer read to its end: its connection is kept


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__


async def _head_of(answer: Answer) -> bytes:
    head = bytearray()
    while len(head) < _ERROR_BODY and (piece := await answer.readany()):
        head += piece
    return bytes(head[:_ERROR_BODY])

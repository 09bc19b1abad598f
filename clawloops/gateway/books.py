"""The books of calls: opened before a backend is asked, looked at each second, settled before the last byte goes out.

What a call may need is set aside from its budgets at its admission (`budgets.py`). Its input is not counted before a
backend does: it is estimated from its bytes, as the same model's earlier calls had them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from clawloops.errors import Unavailable
from clawloops.gateway.body import Body
from clawloops.gateway.budgets import Budgets, Exhausted, Hold, Payer, Use
from clawloops.gateway.circles import Circles, Circling
from clawloops.gateway.journal import Record
from clawloops.gateway.meter import Meter
from clawloops.gateway.queue import Seat
from clawloops.gateway.route import Caller
from clawloops.model.budget import Measure
from clawloops.model.provider import Route, Target
from clawloops.model.usage import Call, Opened, Price, Progress, Tokens

_LOOK_EVERY_S = 1.0
_LEFT = 499
_IMAGE_TOKENS = 1_500  # ESTIMATE: of one image; providers count 85 to 1,600
_log = logging.getLogger(__name__)


class Books:
    """Those of all calls of this process."""

    def __init__(
        self,
        write: Callable[[Record], None],
        budgets: Budgets,
        circles: Circles,
        *,
        is_attended: Callable[[str], bool],
        settled: Callable[[Call], None],
        now_ms: Callable[[], int],
        refused: Callable[[str], None] = lambda runtime_id: None,
    ) -> None:
        """`write` must not return before the record is safe; `settled` is told of each settled call after that.

        `is_attended(runtime_id)`: whether a person is at it. `refused` is told the runtime (or "")
        whose call was not let through.
        """
        self._write = write
        self._budgets = budgets
        self._circles = circles
        self._is_attended = is_attended
        self._settled = settled
        self._refused = refused
        self._now_ms = now_ms
        self._density = _Density()
        self._turns: set[Turn] = set()
        self._ids = _ids()

    def open(self, caller: Caller, route: Route, body: Body, *, admitted: Callable[[], bool]) -> Turn:
        """Begin a call. Raises Circling, Exhausted, and Unavailable when it cannot be written down.

        `admitted`: whether the caller still is.
        """
        is_background = bool(caller.runtime_id) and not self._is_attended(caller.runtime_id)
        payer = Payer(caller.user_id, caller.key_id, route.model.id, is_background)
        at, input_ = self._now_ms(), self._density.estimate(route.model.name, body)
        hold = self._budgets.open(payer, now=at)
        try:
            if is_background:
                self._circles.refuse_held(caller.runtime_id)
            _set_aside(hold, route, body, input_)
            if is_background:  # noted only now: what a budget refuses burns nothing
                self._circles.note(caller.runtime_id, caller.token_hash, body, time.monotonic())
        except (Circling, Exhausted):
            hold.end()
            self._refused(caller.runtime_id)
            raise
        turn = Turn(self, caller, route, body, payer=payer, hold=hold, at=at, input_=input_, admitted=admitted)
        try:
            self._write(turn.opened())
        except OSError as error:
            hold.end()
            _log.error("a model call was refused, because it cannot be written down: %s", error)
            text = "The gateway cannot keep its books now, so it makes no call. Ask your admin to free disk space."
            raise Unavailable(text) from error
        self._turns.add(turn)
        return turn

    async def run(self) -> None:
        """Look at each open call about every second, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for turn in tuple(self._turns):
                try:
                    turn.look()
                except OSError as error:
                    _log.error("how far a model call has come was not written down: %s", error)

    def _settle(self, turn: Turn, call: Call) -> None:
        self._write(call)
        turn.hold.end()
        self._turns.discard(turn)
        self._budgets.settled(call, turn.payer)
        if turn.meter is not None and turn.meter.is_told:
            self._density.learn(call.model, turn.body, call.tokens)
        self._settled(call)


class Turn:
    """One call in the books."""

    __slots__ = (
        *("caller", "route", "body", "payer", "hold", "admitted", "backend_id", "meter", "has_begun", "task"),
        *("exhausted", "_books", "_id", "_at", "_input", "_tries", "_is_asked", "_most", "_start", "_first_ms"),
        *("_ended",),
    )

    def __init__(
        self,
        books: Books,
        caller: Caller,
        route: Route,
        body: Body,
        *,
        payer: Payer,
        hold: Hold,
        at: int,
        input_: int,
        admitted: Callable[[], bool],
    ) -> None:
        self.caller = caller
        self.route = route
        self.body = body
        self.payer = payer
        self.hold = hold
        self.admitted = admitted
        self.backend_id = route.targets[0].backend.id  # until another one has answered or refused
        self.meter: Meter | None = None
        self.has_begun = False  # whether its answer is on the way to the caller
        self.task: asyncio.Task[Any] | None = None  # cancelled when a budget ends before the call
        self.exhausted: Exhausted | None = None
        self._books = books
        self._id = next(books._ids)
        self._at = at
        self._input = input_
        self._most = body.most_output(route.model.context_window)  # tokens of output: no estimate is above that
        self._tries: list[tuple[Target, Seat | None]] = []
        self._is_asked = False
        self._start = time.monotonic()
        self._first_ms: int | None = None
        self._ended = False

    def opened(self) -> Opened:
        return Opened(
            id=self._id,
            at=self._at,
            user_id=self.caller.user_id,
            runtime_id=self.caller.runtime_id,
            key_id=self.caller.key_id,
            model=self.route.model.name,
            backend_id=self.backend_id,
            input=self._input,
            cost=self._cost(Tokens(self._input)),
            images=self.body.images,
            is_background=self.payer.is_background,
        )

    def asking(self, target: Target | None, seat: Seat | None) -> None:
        """A backend is asked now; None: it has failed or refused."""
        self._is_asked = target is not None
        if target is not None:
            self._tries.append((target, seat))
            self.backend_id = target.backend.id

    def began(self) -> None:
        """The first piece of the answer is there."""
        if self._first_ms is None:
            self._first_ms = self._elapsed()

    def grow(self) -> None:
        """Set aside what it has used by now. Raises Exhausted."""
        if self.hold:
            output = self._so_far()
            tokens = Tokens(self._input, output)
            self.hold.grow(Use(self._input + output, self._cost(tokens), 1, self._held_ms()))

    def look(self) -> None:
        """End it where a budget has, and write down how far it has come. Raises OSError."""
        try:
            self.grow()
        except Exhausted as error:
            self.exhausted = error
            if self.task is not None:
                self.task.cancel()
        output = self._so_far()
        self._books._write(
            Progress(
                id=self._id,
                backend_id=self.backend_id,
                output=output,
                cost=self._cost(Tokens(self._input, output)),
                total_ms=self._elapsed(),
                held_ms=self._held_ms(),
                energy_mwh=self._energy_mwh(),
            )
        )

    def end(self, status: int) -> None:
        """Settle, once. What a backend counted is believed; an answer that was cut is counted as far as it came.

        Raises OSError when it cannot be written down: then it stays open.
        """
        if self._ended:
            return
        tokens = self._tokens(status)
        self._books._settle(
            self,
            Call(
                id=self._id,
                at=self._at,
                user_id=self.caller.user_id,
                runtime_id=self.caller.runtime_id,
                model=self.route.model.name,
                backend_id=self.backend_id,
                tokens=tokens,
                status=status,
                first_ms=self._first_ms,
                total_ms=self._elapsed(),
                key_id=self.caller.key_id,
                queue_ms=sum(int(seat.waited_s * 1000) for _, seat in self._tries if seat),
                held_ms=self._held_ms(),
                cost=self._cost(tokens),
                energy_mwh=self._energy_mwh(),
                images=self.body.images,
                is_background=self.payer.is_background,
            ),
        )
        self._ended = True

    def close(self) -> None:
        """Nothing more is done about it, settled or not."""
        self.hold.end()
        self._books._turns.discard(self)

    def _tokens(self, status: int) -> Tokens:
        """What it used: as the backend counted, else as far as it was seen."""
        if self.meter is None:  # cut before its answer began: a backend that was asked had the question all the same
            was_cut = self._is_asked and (status == _LEFT or self.exhausted is not None)
            return Tokens(self._input) if was_cut and self._most else Tokens()
        tokens = self.meter.tokens(unsaid=self._input if self._most else 0)  # without an answer often none is told
        if self.meter.is_told and status == 200:
            return tokens
        return replace(tokens, output=min(tokens.output, self._most))

    def _so_far(self) -> int:
        return min(self.meter.so_far(), self._most) if self.meter else 0

    def _cost(self, tokens: Tokens) -> int:
        return (self._tries[-1][0].price if self._tries else self.route.dearest).cost(tokens)

    def _held_ms(self) -> int:
        return sum(int(seat.held_s * 1000) for _, seat in self._tries if seat)

    def _energy_mwh(self) -> int:
        return sum(target.backend.energy_mwh(int(seat.held_s * 1000)) for target, seat in self._tries if seat)

    def _elapsed(self) -> int:
        return int((time.monotonic() - self._start) * 1000)


def _ids() -> Iterator[str]:
    """One for each call; those of another process begin otherwise."""
    mine = secrets.token_hex(10)
    return (f"{mine}{number:012x}" for number in count())


class _Density:
    """Tokens for each byte of a body, by public name. It follows a rise at once and a fall slowly."""

    _FIRST = 0.4
    _SURE = 1.1
    _LEAST = 0.25  # that of plain English: a body can be padded so that it seems to have less
    _NEW = 0.05

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def estimate(self, name: str, body: Body) -> int:
        density = min(1.0, self._SURE * self._known.get(name, self._FIRST))
        return int(body.size * density) + body.images * _IMAGE_TOKENS

    def learn(self, name: str, body: Body, tokens: Tokens) -> None:
        if not tokens.input or not body.size or body.images:
            return
        seen, known = min(1.0, max(self._LEAST, tokens.input / body.size)), self._known.get(name, 0.0)
        self._known[name] = max(seen, known + self._NEW * (seen - known))


def _use(price: Price, input_: int, output: int) -> Use:
    return Use(input_ + output, price.cost(Tokens(input_, output)), 1)


def _set_aside(hold: Hold, route: Route, body: Body, input_: int) -> None:
    """Set aside what the call may need; a whole answer is asked for no longer than that. Raises Exhausted."""
    if not hold:
        return
    price, longest = route.dearest, body.most_output(route.model.max_tokens)
    least = _use(price, input_, min(body.answers, longest))
    hold.set_aside(least, least if body.stream else _use(price, input_, longest))
    if longest and not body.stream:
        _cap(body, route, hold, input_=input_, longest=longest)


def _cap(body: Body, route: Route, hold: Hold, *, input_: int, longest: int) -> None:
    """Ask for answers no longer than what is set aside for them."""
    most, price = longest, route.dearest
    tokens, cost = hold.room(Measure.TOKENS), hold.room(Measure.COST)
    if tokens is not None:
        most = min(most, tokens - input_)
    if cost is not None and price.output:
        most = min(most, (cost - price.cost(Tokens(input_))) * 1_000_000 // price.output)
    if tokens is not None or (cost is not None and price.output):
        body.cap(most)

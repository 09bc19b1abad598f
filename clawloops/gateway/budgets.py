"""Budgets in memory: what a call may need is set aside before it begins, and what it used is counted at its end.

A counter never has more set aside and used together than its budget: of calls that come at once, those that no longer
fit are refused, and an answer that outgrows what is left is cut. Pure: the callers bring the time, Unix ms.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from clawloops.model.budget import Budget, Measure, Scope
from clawloops.model.usage import Call

_WARN = 0.8
_SET_BACK_MS = 60_000  # a clock that was set back by less does not begin a span anew


@dataclass(frozen=True, slots=True)
class Use:
    """An amount in each measure."""

    tokens: int = 0
    cost: int = 0  # µUSD
    requests: int = 0
    gpu_ms: int = 0

    def of(self, measure: Measure) -> int:
        match measure:
            case Measure.TOKENS:
                return self.tokens
            case Measure.COST:
                return self.cost
            case Measure.REQUESTS:
                return self.requests
            case Measure.GPU_MS:
                return self.gpu_ms


def use_of(call: Call) -> Use:
    return Use(call.tokens.input + call.tokens.output, call.cost, 1, call.held_ms)


class Exhausted(Exception):
    """A budget has nothing left. `is_passing`: what is missing is set aside for calls that are still under way."""

    def __init__(self, budget: Budget, *, resets_at: int, is_passing: bool) -> None:
        super().__init__(budget.id)
        self.budget = budget
        self.resets_at = resets_at  # Unix ms
        self.is_passing = is_passing


@dataclass(slots=True, eq=False)
class _Count:
    """What is used of one budget by one of those whom it counts, in one span."""

    budget: Budget
    start: int = 0  # of the span, Unix ms
    end: int = 0
    used: int = 0
    aside: int = 0
    is_warned: bool = False

    def turn_to(self, now: int) -> None:
        """Begin anew when the span is over. What calls from before set aside no longer counts."""
        if now >= self.end or now < self.start - _SET_BACK_MS:
            self.start, self.end = self.budget.span.around(now)
            self.used = self.aside = 0
            self.is_warned = False

    @property
    def left(self) -> int:
        return self.budget.amount - self.used - self.aside

    def exhausted(self, need: int) -> Exhausted:
        """What a call is told that needs so much and does not get it."""
        return Exhausted(self.budget, resets_at=self.end, is_passing=self.used + need <= self.budget.amount)


@dataclass(frozen=True, slots=True)
class Level:
    """How much of a budget is used, as people see it."""

    budget: Budget
    user_id: str  # of a budget for each member; else ""
    used: int
    resets_at: int  # Unix ms

    @property
    def is_near(self) -> bool:
        return self.used >= _WARN * self.budget.amount


@dataclass(frozen=True, slots=True)
class Payer:
    """Whose budgets a call counts for."""

    user_id: str
    key_id: str
    model_id: str
    is_background: bool


class Hold:
    """What one call has set aside, until `end`."""

    def __init__(self, counts: Sequence[_Count]) -> None:
        self._counts = [(each, each.start) for each in counts]
        self._aside = [0] * len(counts)

    def __bool__(self) -> bool:
        """Whether any budget counts it."""
        return bool(self._counts)

    def set_aside(self, least: Use, most: Use) -> None:
        """Set aside `most`, or as much of it as is left. Raises Exhausted where `least` is not: then nothing is."""
        for count, _ in self._counts:
            need = max(1, least.of(count.budget.measure))
            if count.left < need:
                raise count.exhausted(need)
        for index, (count, _) in enumerate(self._counts):
            self._aside[index] = min(most.of(count.budget.measure), count.left)
            count.aside += self._aside[index]

    def room(self, measure: Measure) -> int | None:
        """The least that is set aside in one measure; None when no budget counts it."""
        asides = zip(self._counts, self._aside, strict=True)
        return min((aside for (count, _), aside in asides if count.budget.measure is measure), default=None)

    def grow(self, use: Use) -> None:
        """Set aside what it has used by now. Raises Exhausted when there is not so much left.

        A call from a span that is over grows freely: its budget has begun anew without it.
        """
        for index, (count, start) in enumerate(self._counts):
            need = use.of(count.budget.measure)
            more = need - self._aside[index]
            if more <= 0 or count.start != start:
                continue
            if more > count.left:
                raise count.exhausted(need)
            self._aside[index] += more
            count.aside += more

    def end(self) -> None:
        """Give back what is set aside. A second time nothing happens."""
        for (count, start), aside in zip(self._counts, self._aside, strict=True):
            if count.start == start:
                count.aside -= aside
        self._counts, self._aside = [], []


_NONE = Hold(())


class Budgets:
    """All budgets. `on_near(budget, user_id)` is told once in a span when four fifths are used."""

    def __init__(self, *, on_near: Callable[[Budget, str], None]) -> None:
        self._on_near = on_near
        self._budgets: tuple[Budget, ...] = ()
        self._groups: Mapping[str, frozenset[str]] = {}
        self._counts: dict[tuple[str, str], _Count] = {}  # by budget id, and user id of a budget for each member
        self._found: dict[Payer, tuple[_Count, ...]] = {}
        self._tape: list[tuple[Call, Payer]] | None = None

    def record(self) -> None:
        """From now until `set`, remember what is settled: sums from the store may miss it."""
        self._tape = []

    def record_no_more(self) -> None:
        """There will be no `set`. After one, nothing happens."""
        self._tape = None

    def set(
        self,
        budgets: Iterable[Budget],
        groups: Mapping[str, frozenset[str]],
        used: Mapping[tuple[str, str], int],
        *,
        now: int,
        summed: frozenset[str] = frozenset(),
    ) -> None:
        """Replace all budgets. `used`: sums of the present spans by budget id and user id ("" where not for each).

        `summed`: ids of the calls since `record` that these sums hold. What is set aside stays.
        """
        self._budgets, self._groups, self._found = tuple(budgets), groups, {}
        known = {each.id: each for each in self._budgets}
        ahead: set[_Count] = set()
        self._counts = {key: count for key, count in self._counts.items() if key[0] in known}
        for key in {*self._counts, *used}:
            if key[0] not in known:
                continue
            count = self._counts.setdefault(key, _Count(known[key[0]]))
            if count.budget.span is not known[key[0]].span:
                count.end = 0
            count.budget = known[key[0]]
            count.turn_to(now)
            if count.start == count.budget.span.around(now)[0]:
                count.used = used.get(key, 0)
            else:  # a call has begun the next span already, and is counted in it
                ahead.add(count)
        tape, self._tape = self._tape, None
        for call, payer in tape or ():
            if call.id not in summed:
                self._add(call, payer, but_for=ahead)

    def open(self, payer: Payer, *, now: int) -> Hold:
        """For what a call is to set aside; it counts for nothing before `Hold.set_aside`."""
        counts = self._for(payer)
        for count in counts:
            count.turn_to(now)
        return Hold(counts) if counts else _NONE

    def settled(self, call: Call, payer: Payer) -> None:
        """Count what a call used. Its hold has ended."""
        if self._tape is not None:
            self._tape.append((call, payer))
        self._add(call, payer)

    def _add(self, call: Call, payer: Payer, *, but_for: Collection[_Count] = ()) -> None:
        use = use_of(call)
        for count in self._for(payer):
            if count in but_for:
                continue
            if not count.start <= call.at < count.end:
                if call.at < count.start:  # it belongs to a span that is over
                    continue
                count.turn_to(call.at)
            count.used += use.of(count.budget.measure)
            if not count.is_warned and count.used >= _WARN * count.budget.amount:
                count.is_warned = True
                self._on_near(count.budget, payer.user_id if count.budget.scope is Scope.EACH else "")

    def levels(self, now: int) -> list[Level]:
        """Each budget; one for each member once for every member who has used some of it."""
        found = []
        for budget in self._budgets:
            counts = {user_id: count for (known, user_id), count in self._counts.items() if known == budget.id}
            for user_id, count in counts.items() or {"": _Count(budget)}.items():
                count.turn_to(now)
                found.append(Level(budget, user_id, count.used, count.end))
        return found

    def levels_of(self, user_id: str, now: int) -> list[Level]:
        """Those that count what this member does, but for those of a key or a model alone."""
        mine = (each for each in self._budgets if each.scope not in (Scope.KEY, Scope.MODEL, Scope.BOX))
        found = []
        for budget in mine:
            if budget.scope is Scope.EACH or self._covers(budget, user_id):
                count = self._count(budget, user_id)
                count.turn_to(now)
                found.append(Level(budget, user_id, count.used, count.end))
        return found

    def _covers(self, budget: Budget, user_id: str) -> bool:
        if budget.scope is Scope.GROUP:
            return user_id in self._groups.get(budget.subject, ())
        return budget.scope is Scope.MEMBER and budget.subject == user_id

    def _for(self, payer: Payer) -> tuple[_Count, ...]:
        found = self._found.get(payer)
        if found is None:
            counted = [each for each in self._budgets if self._counted(each, payer)]
            found = self._found[payer] = tuple(self._count(each, payer.user_id) for each in counted)
        return found

    def _counted(self, budget: Budget, payer: Payer) -> bool:
        if budget.is_background and not payer.is_background:
            return False
        match budget.scope:
            case Scope.BOX | Scope.EACH:
                return True
            case Scope.KEY:
                return budget.subject == payer.key_id
            case Scope.MODEL:
                return budget.subject == payer.model_id
            case _:
                return self._covers(budget, payer.user_id)

    def _count(self, budget: Budget, user_id: str) -> _Count:
        key = (budget.id, user_id if budget.scope is Scope.EACH else "")
        return self._counts.setdefault(key, _Count(budget))

"""What was used in a month, of one member or of everybody: numbers of the store, in the order that a page shows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping

from clawloops.control.ledger import Sums
from clawloops.control.prices import Prices
from clawloops.errors import Forbidden
from clawloops.model.account import User
from clawloops.model.report import Line, ModelUse, Month, Part, Report, percentile_ms
from clawloops.model.usage import Tokens, Total
from clawloops.store import usage_days
from clawloops.store.db import Database


class Reports:
    def __init__(self, db: Database, sums: Sums, prices: Prices) -> None:
        self._db = db
        self._sums = sums
        self.prices = prices

    async def of(self, month: Month, user_id: str | None, *, by: User) -> Report:
        """`user_id` None: of everybody, which is for admins, as are other members. Raises Forbidden."""
        _may(user_id, by)
        await self._sums.catch_up()
        by_day, parts = await usage_days.added_up(self._db, month.days, user_id)
        words = await self._sums.first_words(month)
        return Report(
            month=month,
            total=Total.of(by_day.values()),
            days=by_day,
            models={
                name: ModelUse(total, *(percentile_ms(words.get(name, {}), share) for share in (0.5, 0.95)))
                for name, total in _largest_first(_by_model(parts)).items()
            },
            members=_largest_first(await usage_days.by_user(self._db, month)) if user_id is None else {},
            saved=self._saved(parts),
        )

    async def lines(self, month: Month, user_id: str | None, *, by: User) -> AsyncIterator[Line]:
        """Day by day: a month of a large team is never held at once. Raises Forbidden."""
        _may(user_id, by)
        await self._sums.catch_up()
        for day in month.days:
            for line in await usage_days.lines(self._db, range(day, day + 1), user_id):
                yield line

    def _saved(self, parts: Iterable[Part]) -> int | None:
        compared = self.prices.compared
        if compared is None:
            return None
        free = Total.of(each.total for each in parts if each.is_free)
        return compared.price.cost(Tokens(free.input, free.output, free.cached))


def _may(user_id: str | None, by: User) -> None:
    if user_id != by.id and not by.role.oversees:
        raise Forbidden("Only an admin can see what others have used.")


def _by_model(parts: Iterable[Part]) -> dict[str, Total]:
    found: dict[str, list[Total]] = {}
    for part in parts:
        found.setdefault(part.model, []).append(part.total)
    return {model: Total.of(totals) for model, totals in found.items()}


def _largest_first(totals: Mapping[str, Total]) -> dict[str, Total]:
    return dict(sorted(totals.items(), key=lambda each: (-each[1].input - each[1].output, each[0])))

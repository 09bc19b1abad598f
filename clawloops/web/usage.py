"""What was used: a month of one's own, or of everybody for an admin, as a chart, tables and CSV; and the queue now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from clawloops.clock import now_ms
from clawloops.control.backends import Line
from clawloops.errors import NotFound
from clawloops.model.account import User
from clawloops.model.report import Month, Report, date_of
from clawloops.model.usage import Total
from clawloops.web.context import ACCOUNTS, BACKENDS, REPORTS, SENT, SESSION, USER
from clawloops.web.figures import day_in_month, dollars, duration, energy, number
from clawloops.web.leaves import PER_LEAF, leaf_of
from clawloops.web.live import stream
from clawloops.web.pages import render, render_part
from clawloops.web.sheet import Table

EVERYBODY = "everybody"
OFTEN_S = 1.0  # the queue is looked at; the browser counts the seconds itself
EXACT_S = 5.0  # to which a wait is foretold anew
_COLUMNS = (
    *("day", "login", "member", "model", "calls", "failed", "input_tokens", "output_tokens", "cached_tokens"),
    *("reasoning_tokens", "cost_usd", "gpu_seconds", "energy_wh"),
)


@dataclass(frozen=True, slots=True)
class Measure:
    """What a chart can show."""

    label: str
    of: Callable[[Total], int]
    text: Callable[[int], str]


MEASURES: Mapping[str, Measure] = {
    "tokens": Measure("Tokens", lambda total: total.input + total.output, number),
    "calls": Measure("Calls", lambda total: total.calls, number),
    "cost": Measure("Cost", lambda total: total.cost, dollars),
    "gpu": Measure("GPU time", lambda total: total.held_ms, duration),
    "energy": Measure("Energy", lambda total: total.energy_mwh, energy),
}


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the chart, 10 wide where 100 is the highest."""

    day: str  # 3 Nov, in the language of the page
    title: str  # 3 Nov: 1,234
    left: int
    top: float
    height: float
    total: Total


async def show(request: web.Request) -> web.Response:
    app, user = request.app, request[USER]
    month, whose = _month(request), _whose(request)
    report = await app[REPORTS].of(month, whose.id if whose else None, by=user)
    offered = {key: each for key, each in MEASURES.items() if key in ("tokens", "calls") or each.of(report.total)}
    shown = request.query.get("show", "")
    shown = shown if shown in offered else "tokens"
    members = app[ACCOUNTS].members()
    names = {each.id: each.name for each in members}
    return render(
        request,
        "usage.html",
        report=report,
        whose=whose,
        whose_value=_value(whose, user),
        people=members if user.role.oversees else [],
        most=PER_LEAF,
        names=names,
        leaf=leaf_of(
            request,
            list(report.members.items()),
            lambda each: names.get(each[0], ""),
            {"month": str(month), "of": _value(whose, user), "show": shown},
        ),
        measures=offered,
        shown=shown,
        bars=_bars(report, offered[shown]),
        highest=offered[shown].text(max(map(offered[shown].of, report.days.values()), default=0)),
        is_now=month == Month.around(now_ms()),
        compared=app[REPORTS].prices.compared,
        **_now(request),
    )


async def live(request: web.Request) -> web.StreamResponse:
    """The queue, again when somebody comes, has their turn or leaves."""

    latest: tuple[object, str] = None, ""

    async def part() -> tuple[object, str]:
        nonlocal latest
        values = _now(request)
        shown = [(line.backend, line.running, line.waiting, _told(line)) for line in values["lines"]]
        if shown != latest[0]:
            latest = shown, render_part(request, "partials/now.html", **values)
        return latest

    return await stream(request, request[SESSION], "", part, every_s=OFTEN_S)


def _told(line: Line) -> list[tuple[object, ...]]:
    """What is worth telling: a second more is not."""
    return [(each.user_id, each.model, each.place, round(each.expected_s / EXACT_S)) for each in line.calls]


def _now(request: web.Request) -> dict[str, Any]:
    """What `partials/now.html` shows: names are for those who oversee all."""
    user = request.app[ACCOUNTS].get(request[USER].id)  # as they are now: a stream is open for long
    names = {each.id: each.name for each in request.app[ACCOUNTS].members()} if user.role.oversees else {}
    return {"lines": request.app[BACKENDS].lines(by=user), "callers": names}


async def export(request: web.Request) -> web.StreamResponse:
    month, whose = _month(request), _whose(request)
    people = {each.id: each for each in request.app[ACCOUNTS].members()}
    table = Table(request, f"clawloops-usage-{month}.csv", _COLUMNS)
    async for line in request.app[REPORTS].lines(month, whose.id if whose else None, by=request[USER]):
        who, total = people.get(line.user_id), line.total
        await table.add(
            *(date_of(line.day).isoformat(), who.login if who else line.user_id, who.name if who else "", line.model),
            *(total.calls, total.failed, total.input, total.output, total.cached, total.reasoning),
            *(f"{total.cost / 1_000_000:.6f}", total.held_ms / 1000, total.energy_mwh / 1000),
        )
    return await table.end()


async def compare(request: web.Request) -> web.Response:
    await request.app[REPORTS].prices.compare_with(request[SENT].get("model", ""), by=request[USER])
    raise web.HTTPSeeOther("/usage?of=everybody")


def _month(request: web.Request) -> Month:
    return Month.read(request.query.get("month", "")) or Month.around(now_ms())


def _whose(request: web.Request) -> User | None:
    """The member whose usage is meant; None for everybody's. Raises NotFound."""
    of, user = request.query.get("of", ""), request[USER]
    if of == EVERYBODY or (not of and user.role.oversees):
        return None
    if not of:
        return user
    found = next((each for each in request.app[ACCOUNTS].members() if each.id == of), None)
    if found is None:
        raise NotFound("There is no such member. Open Usage again and choose one of the list.")
    return found


def _value(whose: User | None, user: User) -> str:
    """As the address has it, where it has to be said."""
    if whose is None:
        return EVERYBODY
    return whose.id if user.role.oversees else ""


def _bars(report: Report, measure: Measure) -> list[Bar]:
    highest = max(map(measure.of, report.days.values()), default=0) or 1
    bars = []
    for index, day in enumerate(report.month.days):
        total, name = report.days.get(day, Total()), day_in_month(date_of(day))
        value = measure.of(total)
        height = round(max(100 * value / highest, 1.5), 2) if value else 0.0
        title = f"{name}: {measure.text(value)}"
        bars.append(Bar(name, title, 10 * index, round(100 - height, 2), height, total))
    return bars

"""What was used in a month (of UTC), of everybody or of one member: by day, by model, by member."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from msgspec import Meta

from clawloops.clock import now_ms
from clawloops.errors import BadInput
from clawloops.model.report import Month as MonthOf
from clawloops.model.report import Report, date_of
from clawloops.model.usage import Total
from clawloops.web.api.me import Used, used
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Listed, Paged, page_of
from clawloops.web.api.shapes import Given, Shown
from clawloops.web.context import ACCOUNTS, REPORTS

AMonth = Annotated[str, Meta(pattern=r"^(20[0-9]{2}-(0[1-9]|1[0-2]))?$", description="2026-11; this one at first.")]
AMember = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{0,64}$", description="Whose; everybody's at first.")]


class Wanted(Given, frozen=True):
    month: AMonth = ""
    member: AMember = ""


class Page(Paged, frozen=True):
    month: AMonth = ""
    member: AMember = ""


class OwnPage(Paged, frozen=True):
    month: AMonth = ""


class Uses(Shown, frozen=True):
    used: Used


class Month(Uses, frozen=True):
    month: str
    saved_micro_usd: int | None
    """What those calls that cost nothing here would have cost elsewhere; null when nothing is compared with."""


class Day(Uses, frozen=True):
    day: date


class ModelUse(Uses, frozen=True):
    model: str
    first_word_ms: int | None
    """Half of everybody's calls waited no longer for the first byte of their answer; null where there was none."""
    first_word_p95_ms: int | None


class MemberUse(Uses, frozen=True):
    member_id: str


async def show(call: Call, query: Wanted) -> Month:
    report = await _report(call, query.month, query.member)
    return Month(month=str(report.month), used=used(report.total), saved_micro_usd=report.saved)


async def list_days(call: Call, query: Page) -> Listed[Day]:
    """In their order; those without a call are left out."""
    return _days(await _report(call, query.month, query.member), query)


async def list_models(call: Call, query: Page) -> Listed[ModelUse]:
    """By name."""
    return _models(await _report(call, query.month, query.member), query)


async def list_members(call: Call, query: OwnPage) -> Listed[MemberUse]:
    """Most tokens first. Those without a call are left out; one may have been removed since."""
    report = await _report(call, query.month, "")
    return page_of(
        report.members.items(),
        query,
        key=lambda each: (_tokens_from_above(each[1]), each[0]),
        show=lambda each: MemberUse(member_id=each[0], used=used(each[1])),
    )


async def list_own_days(call: Call, query: OwnPage) -> Listed[Day]:
    """In their order; those without a call are left out."""
    return _days(await _report(call, query.month, call.user.id), query)


async def list_own_models(call: Call, query: OwnPage) -> Listed[ModelUse]:
    """By name."""
    return _models(await _report(call, query.month, call.user.id), query)


async def _report(call: Call, month: str, member: str) -> Report:
    """`member` "": everybody's. Raises BadInput, Forbidden."""
    if member and all(each.id != member for each in call.app[ACCOUNTS].members()):
        raise BadInput("There is no such member.", field="member")
    return await call.app[REPORTS].of(MonthOf.read(month) or MonthOf.around(now_ms()), member or None, by=call.user)


def _days(report: Report, page: Paged) -> Listed[Day]:
    return page_of(
        report.days.items(),
        page,
        key=lambda each: (each[0], ""),
        show=lambda each: Day(day=date_of(each[0]), used=used(each[1])),
    )


def _models(report: Report, page: Paged) -> Listed[ModelUse]:
    return page_of(
        report.models.items(),
        page,
        key=lambda each: (0, each[0]),
        show=lambda each: ModelUse(
            model=each[0],
            used=used(each[1].total),
            first_word_ms=each[1].median_ms,
            first_word_p95_ms=each[1].p95_ms,
        ),
    )


def _tokens_from_above(total: Total) -> int:
    return -total.input - total.output

"""`clawloops usage`: what was used in a month, as the page shows it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from clawloops.config import Settings
from clawloops.console import console, every, print_csv, print_json, print_table
from clawloops.errors import BadInput
from clawloops.model.report import Month
from clawloops.web.api import usage
from clawloops.web.api.me import Used
from clawloops.web.api.operation import Call
from clawloops.web.context import ACCOUNTS

_ABOUT = """\
What was used in a month of UTC, added up by day, model or member. Calls are counted as they settle; the running
control plane writes them down each second. With --json, the fields are those of the JSON API's /usage/days,
/usage/models and /usage/members; with --csv, the same fields are columns. Without --by it is one sum. A member is
named by login, one that was removed by their id."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`usage`."""
    parser = commands.add_parser("usage", help="what was used in a month, by day, model or member", description=_ABOUT)
    parser.add_argument("--month", default="", metavar="YYYY-MM", help="default: this month")
    parser.add_argument("--by", choices=["day", "model", "member"], default="", help="default: one sum")
    parser.add_argument("--of", default="", metavar="LOGIN", help="of one member; default: everybody")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="for programs: one JSON document on stdout")
    shape.add_argument("--csv", action="store_true", help="for a spreadsheet")


async def run(settings: Settings, given: argparse.Namespace) -> None:
    """Raises BadInput for what is no month, NotFound for an unknown login."""
    if given.month and Month.read(given.month) is None:
        raise BadInput(f"{given.month!r} is no month; give one like 2026-11")
    if given.of and given.by == "member":
        raise BadInput("--of names one member already; leave one of the two out")
    async with console(settings) as call:
        member = call.app[ACCOUNTS].of_login(given.of).id if given.of else ""
        month = usage.Page(month=given.month, member=member)
        match given.by:
            case "day":
                days = await every(usage.list_days, call, month)
                _show("day", days, [str(each.day) for each in days], given)
            case "model":
                models = await every(usage.list_models, call, month)
                _show("model", models, [each.model for each in models], given)
            case "member":
                members = await every(usage.list_members, call, usage.OwnPage(month=given.month))
                _show("member", members, [_login(call, each.member_id) for each in members], given)
            case _:
                whole = await usage.show(call, usage.Wanted(month=given.month, member=member))
                _show("month", [whole], [whole.month], given, only=True)


def _show(
    name: str, found: Sequence[usage.Uses], names: Sequence[str], given: argparse.Namespace, *, only: bool = False
) -> None:
    if given.json:
        print_json(found[0] if only else found)
    elif given.csv:
        columns = Used.__struct_fields__
        sums = ([getattr(each.used, column) for column in columns] for each in found)
        print_csv([name, *columns], ([of, *row] for of, row in zip(names, sums, strict=True)))
    else:
        heads = [name.upper(), "TOKENS", "CALLS", "FAILED", "COST", "GPU SECONDS"]
        print_table([heads, *([of, *_cells(each.used)] for of, each in zip(names, found, strict=True))])


def _cells(used: Used) -> list[str]:
    return [
        f"{used.input_tokens + used.output_tokens:,}",
        f"{used.calls:,}",
        f"{used.failed:,}",
        f"${used.cost_micro_usd / 1_000_000:,.2f}",
        f"{used.gpu_ms / 1000:,.0f}",
    ]


def _login(call: Call, member_id: str) -> str:
    return next((each.login for each in call.app[ACCOUNTS].members() if each.id == member_id), member_id)

"""What the benchmarks that send rounds of calls have in common: their arguments, and their verdict."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable

from clawloops.bench import report
from clawloops.bench.report import Figure
from clawloops.errors import SetupError


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """`about`: the docstring of the benchmark's module; its first paragraph is shown."""
    made = argparse.ArgumentParser(prog=f"clawloops bench {name}", description=(about or "").split("\n\n")[0])
    made.add_argument("--json", action="store_true", help="a list for programs")
    made.add_argument("--rounds", type=int, default=5, help="of each system, in turns (default 5)")
    made.add_argument("--seconds", type=int, default=3, help="of one round (default 3)")
    return made


def run(measure: Callable[[argparse.Namespace], Awaitable[list[Figure]]], chosen: argparse.Namespace) -> int:
    """0 when every gate holds, 1 when one does not. Raises SetupError when it cannot be measured."""
    if not 1 <= chosen.rounds <= 50 or not 1 <= chosen.seconds <= 60:
        raise SetupError("give 1 to 50 rounds of 1 to 60 seconds")
    if len(os.sched_getaffinity(0)) < 2:
        raise SetupError("two cores are needed: one for what is measured, one for the load")

    async def all_of_it() -> list[Figure]:
        return await measure(chosen)

    try:
        figures = asyncio.run(all_of_it())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    print(report.as_json(figures) if chosen.json else report.table(figures))
    return 0 if report.holds(figures) else 1

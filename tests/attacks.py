"""The table of attacks, and what became of each: printed at the end of `tests/run attacks`.

A test says which rows it belongs to: `@pytest.mark.attacks(5, 6)`. One without a number is of no row.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import pytest

TABLE = {
    1: (
        "a runtime looks for the host, the LAN, the cloud's metadata",
        "a network without a way out, tested each minute",
    ),
    2: (
        "a runtime looks for another one through the edge",
        "a /29 for each, an edge that forwards nothing, watched",
    ),
    3: (
        "a runtime looks for the dashboard, ForwardAuth, Traefik",
        "loopback and the front address, closed to the pool",
    ),
    4: ("a runtime breaks out of its container", "uid 1000, no capability, no new privileges, read-only root"),
    5: ("the control plane is taken over, and wants root", "the guard makes every body anew"),
    6: ("Traefik is taken over, and reads", "the guard shows it routes, and nothing else"),
    7: ("an image brings labels that route", "such an image is refused; the dashboard's routes win"),
    8: ("a browser says who it is; our cookies reach a runtime", "headers are replaced, cookies taken out"),
    9: ("ForwardAuth is confused", "one exact host and runtime; any doubt denies"),
    10: ("a workspace's script tosses cookies at the dashboard", "__Host- cookies; doubled ones are refused"),
    11: ("another site, or a workspace, sends a form", "the exact Origin and a token"),
    12: ("a hand-over is replayed, or leads elsewhere", "a code for one browser, session and host, once"),
    13: ("a dependency is poisoned", "exact versions with hashes, known bad ones never"),
    14: ("another site opens a WebSocket", "the exact Origin"),
    15: ("somebody shut out keeps a live WebSocket", "the relay cuts it; no other upgrade passes"),
    16: ("a runtime's token is stolen", "good from one address, for one generation"),
    17: ("a call fans out, or outruns its budget", "one exact name; reserved before, settled after"),
    18: ("a call's body or address leads elsewhere", "fields by name, addresses looked at, no redirects"),
    19: ("keys in logs, errors, files, inspect", "sealed, masked and scrubbed"),
    20: ("a runtime fills, forks and floods", "limits of processes, memory, logs and bodies"),
}
"""Row of the threat model -> the attack, and what stands against it."""


@dataclass
class _Row:
    held: int = 0
    failed: int = 0
    skipped: int = 0


def numbers(item: pytest.Item) -> set[int]:
    """The rows that a test belongs to."""
    return {number for marker in item.iter_markers("attacks") for number in marker.args}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.user_properties.extend(("attack", number) for number in sorted(numbers(item)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("-m") != "attacks":
        return
    rows: dict[int, _Row] = defaultdict(_Row)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, number in report.user_properties:
                if name == "attack":
                    row = rows[int(str(number))]
                    row.held += outcome == "passed"
                    row.failed += outcome in ("failed", "error")
                    row.skipped += outcome == "skipped"
    terminalreporter.section("attacks")
    for number, (attack, control) in TABLE.items():
        terminalreporter.line(f"{number:2} {_word(rows[number]):26} {attack}: {control}")


def _word(row: _Row) -> str:
    if row.failed:
        return f"NOT REFUSED, {row.failed} failed"
    if not row.held:
        return "NOT TRIED"
    return f"refused, {row.held} tests" + (f", {row.skipped} left out" if row.skipped else "")

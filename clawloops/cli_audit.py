"""`clawloops audit verify`: whether the list of what was done is still as it was written."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime

from clawloops import ground
from clawloops.config import Settings
from clawloops.model.audit import Verdict

_ABOUT = """\
Follows the chain of the audit from its first entry: each holds a keyed hash of itself and of the one before it, so
that none can be changed, taken out or added by whoever has the database alone. Only a cut at its end leaves no trace:
note the hash that this prints somewhere else, and give it with --head the next time. Ends with 1 when something is
wrong."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`audit verify`."""
    audit = commands.add_parser("audit", help="what was done on this box: verify that nothing of it was changed")
    verify = audit.add_subparsers(dest="verb", required=True).add_parser(
        "verify", help="follow its chain from the first entry", description=_ABOUT
    )
    verify.add_argument("--head", default="", metavar="HASH", help="a hash from an earlier time, which must be in it")
    verify.add_argument("--json", action="store_true", help="for programs: one JSON document on stdout")


async def run(settings: Settings, given: argparse.Namespace) -> int:
    """0 when the chain holds, 1 when it does not. Raises SetupError."""
    async with ground.store(settings) as db:
        audit = await ground.open_audit(db, settings)
        found = await audit.verify(head=given.head.strip().lower())
    print(json.dumps(asdict(found), indent=2) if given.json else _words(found))
    return 1 if found.why else 0


def _words(found: Verdict) -> str:
    lines = []
    if found.unchained:
        lines.append(f"{found.unchained} entries are from before they were chained; nothing can be said of those.")
    lines.append(f"{found.entries} entries hold" + (f", up to {found.head}." if found.head else "."))
    if found.why:
        lines.append(f"Entry {found.seq}: {found.why}.")
        lines.append("Compare with a backup (docs/operations.md); whoever did this could write to the database.")
    else:
        lines.append(f"Nothing is wrong with the audit on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.")
    return "\n".join(lines)

"""The API's operations for a shell on the box: the same handlers over the same services, without HTTP.

What the command line shows are therefore the API's own shapes. A part that only the running control plane has (what
Docker makes of a wish, Ollama's library, the queue) is not here.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from clawloops import ground, nudge
from clawloops.config import Settings
from clawloops.control.accounts import Accounts
from clawloops.control.backups import Backups
from clawloops.control.factors import Factors
from clawloops.control.groups import Groups
from clawloops.control.invitations import Invitations
from clawloops.control.keys import Keys
from clawloops.control.ledger import Sums
from clawloops.control.reports import Reports
from clawloops.control.resets import Resets
from clawloops.control.runtimes import CONSOLE, Runtimes
from clawloops.control.sessions import Sessions
from clawloops.control.tokens import Tokens
from clawloops.gateway.resolve import upstream_session
from clawloops.model.token import PersonalToken, TokenScope
from clawloops.modelside import services
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Listed, Paged
from clawloops.web.context import (
    ACCOUNTS,
    BACKENDS,
    BACKUPS,
    FACTORS,
    GROUPS,
    INVITATIONS,
    LEDGER,
    MODELS,
    REPORTS,
    RESETS,
)
from clawloops.web.sheet import plain

_TOKEN = PersonalToken("", "", "a shell", b"", "", frozenset(TokenScope), 0, 0)
"""Whoever has a shell on the box needs none: it is kept nowhere and opens no door."""

_MOST = 200
T = TypeVar("T")
P = TypeVar("P", bound=Paged)


@asynccontextmanager
async def console(settings: Settings) -> AsyncIterator[Call]:
    """A caller who may do everything. Raises SetupError, SealBroken."""
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(ground.store(settings))
        sealer, audit = await ground.open_seal(db, settings), await ground.open_audit(db, settings)
        session = await stack.enter_async_context(upstream_session())
        made = services(db, sealer, session, audit=audit, bundled=ground.bundled_parts(settings))
        sessions = Sessions(db)
        accounts = Accounts(db, sessions, audit)
        factors = Factors(db, sealer, sessions, audit, host=settings.base)
        tokens = Tokens(db, audit, Keys(db, audit, made.directory))
        runtimes = Runtimes(db, audit, pool=settings.runtime_pool, wake=lambda _: None)

        async def shut_out(user_id: str) -> None:
            """In the store, should no control plane run: one that does follows in its memory."""
            await tokens.end_all_of(user_id)
            await runtimes.stop_for(user_id)

        accounts.on_disabled = shut_out
        for each in (made.prices, made.models, accounts, factors):
            await each.load()
        app = web.Application()
        app[ACCOUNTS], app[FACTORS] = accounts, factors
        app[INVITATIONS] = Invitations(db, accounts, audit, origin=settings.origin)
        app[RESETS] = Resets(db, accounts, factors, sessions, audit, origin=settings.origin)
        app[GROUPS] = Groups(db, audit, changed=made.models.changed)
        app[MODELS], app[BACKENDS] = made.models, made.backends
        app[LEDGER] = sums = Sums(db)
        app[REPORTS] = Reports(db, sums, made.prices)
        app[BACKUPS] = Backups(db, audit, settings.data / "backups")
        yield Call(app, CONSOLE, _TOKEN)


async def every(listing: Callable[[Call, P], Awaitable[Listed[T]]], call: Call, page: P) -> list[T]:
    """All pages of a list, from `page` on."""
    found: list[T] = []
    while True:
        part = await listing(call, msgspec.structs.replace(page, limit=_MOST))
        found += part.items
        if part.next_cursor is None:
            return found
        page = msgspec.structs.replace(page, cursor=part.next_cursor)


def tell_control_plane(data: Path) -> None:
    """Let it read anew what was just written down."""
    try:
        nudge.give(data)
    except OSError as error:  # the change itself is written down
        print(f"the control plane follows within a minute, not at once: {error}", file=sys.stderr)


def print_json(shown: Any) -> None:
    """One document, as the API writes it."""
    print(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """For a spreadsheet (RFC 4180); no cell of it is a formula."""
    sheet = csv.writer(sys.stdout)
    sheet.writerow(columns)
    sheet.writerows([plain(cell) for cell in row] for row in rows)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns side by side; the first row is the heading. No name that somebody chose moves the terminal's cursor."""
    rows = [["".join(each if each.isprintable() else "?" for each in cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

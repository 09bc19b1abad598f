"""A member's MCP servers and Telegram bot: theirs alone to see and to change, and kept with sealed secrets."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import BadInput, Conflict, NotFound
from clawloops.model.account import User
from clawloops.model.connection import (
    BOT_TOKEN,
    MOST,
    Connection,
    Kind,
    name_of,
    people_of,
    secrets_of,
    target_of,
    token_of,
)
from clawloops.store import connections, events, runtimes
from clawloops.store.db import Database
from clawloops.store.seal import Sealer

_CALLED = {Kind.HTTP: "MCP server", Kind.SSE: "MCP server", Kind.COMMAND: "MCP server", Kind.TELEGRAM: "channel"}


class Connections:
    def __init__(self, db: Database, sealer: Sealer, audit: Audit, *, wake: Callable[[str], None]) -> None:
        """`wake` has the loop look at a workspace, by its id."""
        self._db = db
        self._sealer = sealer
        self._audit = audit
        self._wake = wake
        self._adding = asyncio.Lock()

    async def of(self, user: User) -> list[Connection]:
        """Oldest first. Their secrets are for nobody's eyes but their names'."""
        return await connections.of(self._db, self._sealer, user.id)

    async def values_of(self, user_id: str) -> list[str]:
        """The words of all secrets of a member's, of what is switched off as well: none may stand in a log."""
        kept = await connections.of(self._db, self._sealer, user_id)
        return [word for each in kept for value in (each.secrets or {}).values() for word in value.split()]

    async def get(self, connection_id: str, *, by: User) -> Connection:
        """One's own. Raises NotFound."""
        for each in await self.of(by):
            if each.id == connection_id:
                return each
        raise NotFound("This was removed already. Reload the page.")

    async def add_server(
        self, *, kind: Kind, name: str, target: str, secrets: Mapping[str, str], by: User
    ) -> Connection:
        """An MCP server. Raises BadInput."""
        _no_channel(kind)
        return await self._add(kind, name_of(name), target_of(kind, target), secrets_of(kind, secrets), by)

    async def change_server(
        self,
        connection_id: str,
        *,
        kind: Kind,
        name: str,
        target: str,
        secrets: Mapping[str, str] | None,
        by: User,
    ) -> Connection:
        """`secrets`: None keeps those that there are, as long as they go where they went. Raises BadInput, NotFound."""
        _no_channel(kind)
        now = await self.get(connection_id, by=by)
        _no_channel(now.kind)
        new = replace(now, kind=kind, name=name_of(name), target=target_of(kind, target))
        if secrets is not None:
            new = replace(new, secrets=secrets_of(kind, secrets))
        elif now.secrets and (new.kind.is_web, new.held_for) != (now.kind.is_web, now.held_for):
            raise BadInput("They were for another place. Enter them again, or leave them out.", field="secrets")
        return await self._put(new, "changed", by)

    async def set_telegram(self, *, token: str, people: str, by: User) -> Connection:
        """Another token, "" for the one that there is, and who may write. Raises BadInput."""
        now = next((each for each in await self.of(by) if each.kind is Kind.TELEGRAM), None)
        allowed = people_of(people)
        kept = (now.secrets or {}).get(BOT_TOKEN, "") if now else ""
        found = {BOT_TOKEN: token_of(token) if token.strip() or not kept else kept}
        if now is None:
            return await self._add(Kind.TELEGRAM, Kind.TELEGRAM.value, allowed, found, by)
        return await self._put(replace(now, target=allowed, secrets=found), "changed", by)

    async def switch(self, connection_id: str, *, on: bool, by: User) -> Connection:
        """Raises NotFound."""
        now = await self.get(connection_id, by=by)
        if now.enabled is on:
            return now
        return await self._put(replace(now, enabled=on), f"switched {'on' if on else 'off'}", by)

    async def remove(self, connection_id: str, *, by: User) -> None:
        """Raises NotFound."""
        now = await self.get(connection_id, by=by)
        await connections.delete(self._db, now.id, by.id)
        await self._note(now, "removed", by)

    async def _add(self, kind: Kind, name: str, target: str, found: Mapping[str, str], by: User) -> Connection:
        made = Connection("x" + secrets.token_hex(8), by.id, kind, name, target, True, now_ms(), 1, found)
        async with self._adding:  # what is counted is still so when it is added
            there = await self.of(by)
            if len(there) >= MOST:
                raise BadInput(f"There are {MOST} already. Remove one that is not needed.", field="name")
            _free(name, there)
            await connections.add(self._db, self._sealer, made)
        await self._note(made, "added", by)
        return made

    async def _put(self, new: Connection, done: str, by: User) -> Connection:
        if new.secrets is None:
            raise BadInput("What was kept of it does not open any more. Enter it again.", field="secrets")
        _free(new.name, [each for each in await self.of(by) if each.id != new.id])
        await connections.put(self._db, self._sealer, new)
        await self._note(new, done, by)
        return replace(new, version=new.version + 1)

    async def _note(self, connection: Connection, done: str, by: User) -> None:
        """Where it leads is told by its host alone: an address or a command may hold what is nobody else's to know."""
        called = _CALLED[connection.kind]
        leads = connection.reach[0] if connection.reach else "in the workspace"
        await self._audit.record(by.id, f"{called} {done}", connection.name, leads)
        runtime = await runtimes.by_owner(self._db, by.id)
        if runtime is not None:
            is_channel = connection.kind is Kind.TELEGRAM
            text = (
                f"The channel {connection.name} was {done} by {by.name}"
                if is_channel
                else f"The MCP server {connection.name} was {done} by {by.name}"
            )
            await events.add(self._db, runtime.id, at=now_ms(), kind="settings", text=text, actor=by.id)
            self._wake(runtime.id)


def _free(name: str, there: list[Connection]) -> None:
    if any(each.name == name for each in there):
        raise BadInput("You have one of this name already. Choose another name.", field="name")


def _no_channel(kind: Kind) -> None:
    if kind is Kind.TELEGRAM:
        raise Conflict("A channel lets people in: it is set up on the dashboard alone.")

"""A workspace's MCP servers, and its channel as far as no proof is needed. What is secret is taken and never given."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from clawloops.model.connection import Connection as Kept
from clawloops.model.connection import Kind
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Listed, Paged, page_of
from clawloops.web.api.shapes import PLAIN, Given, Id, Instant, Name, Shown, at
from clawloops.web.context import CONNECTIONS

Target = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=1000,
        pattern=PLAIN,
        description="An address, or a command line as a shell takes it; of a Telegram bot who may write to it.",
    ),
]
Secrets = Annotated[
    dict[str, str], Meta(max_length=16, description="Headers by name; of a command, variables of its environment.")
]


class Connection(Shown, frozen=True):
    id: str
    kind: Kind
    name: str
    target: str
    enabled: bool
    secret_names: list[str]
    is_readable: bool
    """Whether what was kept secret of it still opens; enter it again where not."""
    made_at: Instant


class NewServer(Given, frozen=True):
    kind: Kind
    name: Name
    target: Target
    secrets: Secrets | UnsetType = UNSET


class Change(Given, frozen=True):
    """What is left out stays. Of a Telegram bot, only `enabled` can be changed here."""

    kind: Kind | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    target: Target | UnsetType = UNSET
    secrets: Secrets | UnsetType = UNSET
    """Replaces all of them. They have to be given again for another address or command."""
    enabled: bool | UnsetType = UNSET


async def list_own(call: Call, query: Paged) -> Listed[Connection]:
    """Oldest first."""
    found = await call.app[CONNECTIONS].of(call.user)
    return page_of(found, query, key=lambda each: (each.created_at, each.id), show=_shown)


async def add(call: Call, body: NewServer) -> Connection:
    """OpenClaw takes it while it runs. Its host has to be on the workspace's list of hosts as well."""
    made = await call.app[CONNECTIONS].add_server(
        kind=body.kind, name=body.name, target=body.target, secrets=body.secrets or {}, by=call.user
    )
    return _shown(made)


async def change(call: Call, id: Id, body: Change) -> Connection:
    now = await call.app[CONNECTIONS].get(id, by=call.user)
    if (body.kind, body.name, body.target, body.secrets) != (UNSET, UNSET, UNSET, UNSET):
        now = await call.app[CONNECTIONS].change_server(
            id,
            kind=now.kind if body.kind is UNSET else body.kind,
            name=now.name if body.name is UNSET else body.name,
            target=now.target if body.target is UNSET else body.target,
            secrets=None if body.secrets is UNSET else body.secrets,
            by=call.user,
        )
    if body.enabled is not UNSET:
        now = await call.app[CONNECTIONS].switch(id, on=body.enabled, by=call.user)
    return _shown(now)


async def remove(call: Call, id: Id) -> None:
    await call.app[CONNECTIONS].remove(id, by=call.user)


def _shown(kept: Kept) -> Connection:
    return Connection(
        id=kept.id,
        kind=kept.kind,
        name=kept.name,
        target=kept.target,
        enabled=kept.enabled,
        secret_names=sorted(kept.secrets or ()),
        is_readable=kept.secrets is not None,
        made_at=at(kept.created_at),
    )

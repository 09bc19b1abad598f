"""Model backends and how they do. Nothing of a provider's key is ever in an answer, not even its last characters."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from clawloops.control.backends import MOST_MEMORY_MB, MOST_SLOTS, MOST_WATTS, Shelf
from clawloops.errors import NotFound
from clawloops.model.provider import BackendKind
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Listed, Paged, page_of
from clawloops.web.api.shapes import Given, Id, Instant, Shown, at, at_or_none
from clawloops.web.context import BACKENDS


class ProviderKey(Shown, frozen=True):
    """That there is one; the key itself is sealed."""

    id: str
    name: str
    group_id: str | None
    """Of those whose calls it is for; null: everybody's."""
    made_at: Instant
    is_aside: bool
    """Whether its backend refused it, or asked it to slow down, a moment ago."""


class Backend(Shown, frozen=True):
    id: str
    name: str
    kind: BackendKind
    url: str
    provider: str
    slots: int
    """Calls that it serves at once; 0: as many as come."""
    watts: int
    memory_mb: int
    served: list[str]
    """The public names that lead there."""
    keys: list[ProviderKey]
    is_resting: bool
    trouble: str
    trouble_since: Instant | None
    running: int
    waiting: int
    made_at: Instant


class Load(Given, frozen=True):
    """0 where one is not known; 0 slots let all calls through."""

    slots: Annotated[int, Meta(ge=0, le=MOST_SLOTS)]
    watts: Annotated[int, Meta(ge=0, le=MOST_WATTS)]
    memory_mb: Annotated[int, Meta(ge=0, le=MOST_MEMORY_MB)]


async def list_all(call: Call, query: Paged) -> Listed[Backend]:
    """Oldest first."""
    return page_of(
        await call.app[BACKENDS].shelves(),
        query,
        key=lambda each: (each.backend.created_at, each.backend.id),
        show=lambda each: _backend(call, each),
    )


async def show(call: Call, id: Id) -> Backend:
    found = next((each for each in await call.app[BACKENDS].shelves() if each.backend.id == id), None)
    if found is None:
        raise NotFound("There is no such backend (any more).")
    return _backend(call, found)


async def set_load(call: Call, id: Id, body: Load) -> Backend:
    await call.app[BACKENDS].get(id)
    await call.app[BACKENDS].set_load(id, slots=body.slots, watts=body.watts, memory_mb=body.memory_mb, by=call.user)
    return await show(call, id)


async def remove(call: Call, id: Id) -> None:
    """Its sealed keys go with it, and the names that then lead nowhere."""
    await call.app[BACKENDS].remove(id, by=call.user)


async def remove_key(call: Call, id: Id, key: Id) -> None:
    """The next call no longer uses it."""
    await call.app[BACKENDS].remove_key(id, key, by=call.user)


def _backend(call: Call, shelf: Shelf) -> Backend:
    backend, condition = shelf.backend, shelf.condition
    standings = call.app[BACKENDS].standings_of(backend.id)
    waiting = sum(each.place > 0 for each in standings)
    return Backend(
        id=backend.id,
        name=backend.name,
        kind=backend.kind,
        url=backend.url,
        provider=backend.provider,
        slots=backend.slots,
        watts=backend.watts,
        memory_mb=backend.memory_mb,
        served=list(shelf.served),
        keys=[
            ProviderKey(
                id=each.id,
                name=each.name,
                group_id=each.group_id,
                made_at=at(each.created_at),
                is_aside=call.app[BACKENDS].key_is_aside(each.id),
            )
            for each in shelf.keys
        ],
        is_resting=condition.is_resting,
        trouble=condition.why,
        trouble_since=at_or_none(condition.since),
        running=len(standings) - waiting,
        waiting=waiting,
        made_at=at(backend.created_at),
    )

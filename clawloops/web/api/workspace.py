"""Workspaces: one's own, and for admins everybody's. What is asked for is a wish; what is answered is how it stands."""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from clawloops.errors import NotFound
from clawloops.model.runtime import Phase, Policy, Runtime, Size, Sleep, Want
from clawloops.web.api.operation import Call, fields_named
from clawloops.web.api.paging import AN_INT, LAST, Listed, Paged, key_in, listed
from clawloops.web.api.shapes import PLAIN, Given, Id, Instant, Line, Shown, at, at_or_none
from clawloops.web.context import BOARD, BURN, ROLLOUTS, RUNTIMES, SITE
from clawloops.web.states import state_of


class Workspace(Shown, frozen=True):
    id: str
    owner_id: str
    address: str
    """Where its member opens it in a browser."""
    want: Want
    phase: Phase
    """As Docker was last seen; `state` and `text` put it together with the wish."""
    since: Instant | None
    state: str
    text: str
    why: str
    place_in_queue: int | None
    sleep: Sleep
    policy: Policy
    sleeps_despite_polling: bool
    model_id: str
    """Which its member has chosen as its default; "", and one that is gone: the default of the box."""
    size: Size
    image: str
    pinned_image: str
    """Which an admin has fixed for this member; "" follows the box."""
    pending: str
    """What a restart would bring, "" when nothing."""
    held: str
    """Why what it asks of models on its own is held, "" when it is not."""
    made_at: Instant


class Event(Shown, frozen=True):
    """A line of its history."""

    id: int
    at: Instant
    kind: str
    text: str
    took_ms: int | None
    actor_id: str | None


class OwnSettings(Given, frozen=True):
    """What is left out stays."""

    policy: Policy | UnsetType = UNSET
    sleeps_despite_polling: bool | UnsetType = UNSET
    model_id: Annotated[str, Meta(max_length=64, pattern=PLAIN)] | UnsetType = UNSET
    """One that its member may use; "": the default of the box."""


class Settings(OwnSettings, frozen=True):
    """What is left out stays. A new size or image waits until the workspace is idle, or for a restart."""

    size: Size | UnsetType = UNSET
    pinned_image: Line | UnsetType = UNSET


async def show(call: Call, id: Id = "") -> Workspace:
    return shown(call, await chosen(call, id))


async def list_all(call: Call, query: Paged) -> Listed[Workspace]:
    """Oldest first."""
    after = key_in(query, tuple[AN_INT, Id], start=(-LAST, ""))
    found = await call.app[RUNTIMES].page(after, query.limit + 1, by=call.user)
    return listed(found, query, key=lambda each: (each.created_at, each.id), show=lambda each: shown(call, each))


async def start(call: Call, id: Id = "") -> Workspace:
    """Your own is made at the first time."""
    if id:
        return shown(call, await call.app[RUNTIMES].wish(id, Want.RUNNING, by=call.user))
    return shown(call, await call.app[RUNTIMES].open(call.user))


async def stop(call: Call, id: Id = "") -> Workspace:
    """A turn that is under way may finish first."""
    runtime = await chosen(call, id)
    return shown(call, await call.app[RUNTIMES].wish(runtime.id, Want.STOPPED, by=call.user))


async def restart(call: Call, id: Id = "") -> Workspace:
    """Once its turn has ended, and with whatever settings wait for that."""
    runtime = await chosen(call, id)
    await call.app[RUNTIMES].restart(runtime.id, by=call.user)
    return await show(call, runtime.id)


async def delete_container(call: Call) -> Workspace:
    """The container and its network. The workspace's files stay, and starting makes a new container for them."""
    runtime = await chosen(call, "")
    return shown(call, await call.app[RUNTIMES].wish(runtime.id, Want.GONE, by=call.user))


async def resume(call: Call, id: Id = "") -> Workspace:
    """Let through again what a workspace that went in circles asks of models on its own."""
    runtime = await chosen(call, id)
    await call.app[BURN].resume(runtime, by=call.user)
    return shown(call, runtime)


async def settle_own(call: Call, body: OwnSettings) -> Workspace:
    return await _settle(call, await chosen(call, ""), body)


async def settle(call: Call, id: Id, body: Settings) -> Workspace:
    runtime = await chosen(call, id)
    if body.pinned_image is not UNSET and body.pinned_image.strip() != runtime.pin:
        with fields_named(pin="pinned_image"):
            runtime = await call.app[ROLLOUTS].pin(runtime.id, body.pinned_image.strip(), by=call.user)
    return await _settle(call, runtime, body, size=None if body.size is UNSET else body.size)


async def list_events(call: Call, query: Paged, id: Id = "") -> Listed[Event]:
    """Newest first; kept for 30 days."""
    runtime = await chosen(call, id)
    (before,) = key_in(query, tuple[AN_INT], start=(LAST,))
    found = await call.app[RUNTIMES].history(runtime.id, by=call.user, before=before, limit=query.limit + 1)
    return listed(
        found,
        query,
        key=lambda each: (each.id,),
        show=lambda each: Event(
            id=each.id,
            at=at(each.at),
            kind=each.kind,
            text=each.text,
            took_ms=each.took_ms,
            actor_id=each.actor,
        ),
    )


async def chosen(call: Call, id: str) -> Runtime:
    """The workspace of this id; one's own for "". Raises NotFound."""
    if id:
        return await call.app[RUNTIMES].get(id, by=call.user)
    runtime = await call.app[RUNTIMES].of_owner(call.user.id)
    if runtime is None:
        raise NotFound("You have no workspace yet. POST /api/v1/workspace/start makes it.")
    return runtime


def shown(call: Call, runtime: Runtime) -> Workspace:
    view, site = call.app[BOARD].get(runtime.id), call.app[SITE]
    state = state_of(runtime, view)
    return Workspace(
        id=runtime.id,
        owner_id=runtime.owner,
        address=site.workspace_origin(runtime.slug),
        want=runtime.want,
        phase=view.phase,
        since=at_or_none(view.since),
        state=state.word,
        text=state.text,
        why=state.why,
        place_in_queue=view.place[0] if view.place else None,
        sleep=runtime.sleep,
        policy=runtime.policy,
        sleeps_despite_polling=runtime.sleeps_despite_polling,
        model_id=runtime.model,
        size=runtime.size,
        image=runtime.pin or runtime.image,
        pinned_image=runtime.pin,
        pending=view.pending,
        held=call.app[BURN].why(runtime.id),
        made_at=at(runtime.created_at),
    )


async def _settle(call: Call, runtime: Runtime, body: OwnSettings, *, size: Size | None = None) -> Workspace:
    polling = body.sleeps_despite_polling
    with fields_named(model="model_id"):
        changed = await call.app[RUNTIMES].settings(
            runtime.id,
            by=call.user,
            policy=None if body.policy is UNSET else body.policy,
            sleeps_despite_polling=None if polling is UNSET else polling,
            size=size,
            model=None if body.model_id is UNSET else body.model_id,
        )
    return shown(call, changed)

"""The box as a whole: what is left of it, its walls and certificate, upgrades, and what was done on it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from clawloops.model.certificate import Tls
from clawloops.model.rollout import RolloutState
from clawloops.orchestrator.walls import Verdict
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import AN_INT, LAST, Listed, Paged, key_in, listed, page_of
from clawloops.web.api.shapes import Given, Id, Instant, Shown, at, at_or_none
from clawloops.web.context import AUDIT, CERTIFICATES, HOST, ROLLOUTS


class Left(Shown, frozen=True):
    memory_mb: int
    disk_mb: int
    swap_mb: int


class Walls(Shown, frozen=True):
    """The last self-test of what keeps workspaces apart."""

    verdict: Verdict
    why: str
    tested_at: Instant | None
    alarm: str
    """What every page tells an admin; "" when nothing."""


class Certificate(Shown, frozen=True):
    tls: Tls
    is_well: bool
    """Nobody has to do anything about it."""
    problem: str
    ends_at: Instant | None


class Box(Shown, frozen=True):
    left: Left | None
    """null where the host does not tell."""
    waiting_to_start: list[str]
    """Ids of workspaces, the next one first."""
    walls: Walls
    certificate: Certificate


class Stranger(Shown, frozen=True):
    """Something in Docker that carries our names or labels and is not ours."""

    kind: str
    name: str
    why: str


class Upgrade(Shown, frozen=True):
    """How far everybody is on the way to the box's image of OpenClaw."""

    image: str
    state: RolloutState | None
    """null while nobody was ever moved to that image."""
    note: str
    canary: str | None
    """The workspace that is tried first, where an admin has chosen one."""
    workspaces: int
    behind: int


class Canary(Given, frozen=True):
    workspace_id: Id | None
    """null: it is chosen by itself."""


class Entry(Shown, frozen=True):
    """Something that was done."""

    number: int
    at: Instant
    actor_id: str | None
    """null: the appliance itself, or somebody who is not signed in."""
    action: str
    subject: str
    detail: str
    hash: str | None
    """Chained to the entry before it; `clawloops audit verify` follows it."""


class Noted(Given, frozen=True):
    head: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$", description="A hash that must be in it; empty: none.")] = ""


class Chain(Shown, frozen=True):
    entries: int
    """That hold, up to the first one that does not."""
    unchained: int
    """From before entries were chained: nothing can be said of those."""
    head: str
    """The hash of the last one that holds."""
    problem: str
    """Empty: all hold."""
    at: int
    """The number of the entry that the problem is about; without one, of the newest."""


async def show(call: Call) -> Box:
    host, standing = call.app[HOST], await call.app[CERTIFICATES].standing()
    return Box(
        left=_left(call),
        waiting_to_start=host.gate.queue(),
        walls=Walls(
            verdict=host.walls.last.verdict,
            why=host.walls.last.why,
            tested_at=at_or_none(host.walls.last.at),
            alarm=host.walls.alarm,
        ),
        certificate=Certificate(
            tls=standing.tls,
            is_well=standing.is_well or standing.tls is Tls.NONE,
            problem=standing.problem,
            ends_at=at(standing.served.ends_at) if standing.served else None,
        ),
    )


async def list_strangers(call: Call, query: Paged) -> Listed[Stranger]:
    """By kind and name."""
    return page_of(
        call.app[HOST].strangers,
        query,
        key=lambda each: (0, f"{each.kind} {each.name}"),
        show=lambda each: Stranger(kind=each.kind, name=each.name, why=each.why),
    )


async def show_upgrade(call: Call) -> Upgrade:
    progress = await call.app[ROLLOUTS].progress(by=call.user)
    moved = [each for each in progress.members if each.runtime.volume_at]
    return Upgrade(
        image=progress.image,
        state=progress.rollout.state if progress.rollout else None,
        note=progress.rollout.note if progress.rollout else "",
        canary=progress.canary or None,
        workspaces=len(moved),
        behind=sum(each.behind for each in moved),
    )


async def choose_canary(call: Call, body: Canary) -> Upgrade:
    await call.app[ROLLOUTS].choose_canary(body.workspace_id or "", by=call.user)
    return await show_upgrade(call)


async def try_again(call: Call) -> Upgrade:
    """Begin one that has halted anew; what went back before is tried again."""
    await call.app[ROLLOUTS].try_again(by=call.user)
    return await show_upgrade(call)


async def list_audit(call: Call, query: Paged) -> Listed[Entry]:
    """Newest first."""
    (before,) = key_in(query, tuple[AN_INT], start=(LAST,))
    return listed(
        await call.app[AUDIT].latest(query.limit + 1, before=before),
        query,
        key=lambda each: (each.seq,),
        show=lambda each: Entry(
            number=each.seq,
            at=at(each.at),
            actor_id=each.actor,
            action=each.action,
            subject=each.subject,
            detail=each.detail,
            hash=each.hash,
        ),
    )


async def verify_audit(call: Call, query: Noted) -> Chain:
    """From its first entry. Of a long one this takes seconds."""
    found = await call.app[AUDIT].verify(head=query.head)
    return Chain(entries=found.entries, unchained=found.unchained, head=found.head, problem=found.why, at=found.seq)


def _left(call: Call) -> Left | None:
    try:
        box = call.app[HOST].gate.box()
    except OSError:
        return None
    return Left(memory_mb=box.memory_mb, disk_mb=box.disk_mb, swap_mb=box.swap_mb)

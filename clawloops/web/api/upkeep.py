"""The box looked after: what it uses, what was found wrong with it, and remedies."""

from __future__ import annotations

from clawloops.model.checkup import Remedy
from clawloops.web.api.operation import Call
from clawloops.web.api.shapes import Id, Instant, Shown, at, at_or_none
from clawloops.web.context import GAUGES, UPKEEP


class Finding(Shown, frozen=True):
    """How it stands with one part of the box."""

    part: str
    why: str
    """What is wrong, and what to do; "": it is well."""
    remedy: Remedy | None
    """What would do that by itself; null: a person has to."""


class RemedyUse(Shown, frozen=True):
    """A remedy that was used last since the control plane was started."""

    remedy: Remedy
    part: str
    by: Id
    began_at: Instant
    ended_at: Instant | None
    """null: it is under way."""
    outcome: str
    """Empty: it helped. Otherwise why not."""


class Checkup(Shown, frozen=True):
    """What the last look at every part has found."""

    looked_at: Instant | None
    is_looking: bool
    """One is under way: what is wanted is older than five minutes, or was asked for."""
    problem: str
    """Why it could not be looked; "" otherwise."""
    findings: list[Finding]
    remedies: list[RemedyUse]


class DiskUse(Shown, frozen=True):
    """A file system. Bytes."""

    name: str
    size: int
    free: int


class CardUse(Shown, frozen=True):
    """A graphics card; null where its driver does not tell. Bytes."""

    name: str
    memory: int | None
    memory_used: int | None
    busy_percent: int | None
    celsius: int | None


class ContainerUse(Shown, frozen=True):
    """A running container of this install."""

    name: str
    workspace_id: str | None
    """null: a part of the appliance."""
    image: str
    state: str
    memory: int
    """Bytes."""
    cores: float | None
    """null until it was looked at twice."""


class HostUse(Shown, frozen=True):
    """What the host uses now. Bytes, and shares between 0 and 1."""

    at: Instant
    cores: int
    processors: float
    load: float
    memory: int
    memory_used: int
    swap: int
    swap_used: int


class Gauges(Shown, frozen=True):
    host: HostUse | None
    """null for the first seconds of a control plane."""
    disks: list[DiskUse]
    cards: list[CardUse]
    cards_problem: str
    """Why no card is told of, "" when one is."""
    containers: list[ContainerUse]
    """Looked at from now on, and for 20 seconds: empty on a first call. The most memory first."""
    containers_problem: str


async def show_gauges(call: Call) -> Gauges:
    gauges = call.app[GAUGES]
    gauges.watch()
    now = gauges.history[-1] if gauges.history else None
    return Gauges(
        host=None
        if now is None
        else HostUse(
            at=at(now.at),
            cores=now.cores,
            processors=now.cpu,
            load=now.load,
            memory=now.memory,
            memory_used=now.memory_used,
            swap=now.swap,
            swap_used=now.swap_used,
        ),
        disks=[DiskUse(name=each.name, size=each.size, free=each.free) for each in gauges.disks],
        cards=[
            CardUse(
                name=each.name,
                memory=each.memory,
                memory_used=each.memory_used,
                busy_percent=each.busy,
                celsius=each.celsius,
            )
            for each in gauges.graphics.cards
        ],
        cards_problem=gauges.graphics.why,
        containers=[
            ContainerUse(
                name=each.usage.name,
                workspace_id=each.usage.runtime_id or None,
                image=each.usage.image,
                state=each.usage.state,
                memory=each.usage.memory,
                cores=each.cores,
            )
            for each in gauges.shares
        ],
        containers_problem=gauges.trouble,
    )


async def show_checkup(call: Call) -> Checkup:
    found = call.app[UPKEEP].checkup(by=call.user)
    return Checkup(
        looked_at=at_or_none(found.at),
        is_looking=found.is_looking,
        problem=found.trouble,
        findings=[Finding(part=each.part, why=each.why, remedy=each.remedy) for each in found.findings],
        remedies=[
            RemedyUse(
                remedy=each.remedy,
                part=each.part,
                by=each.by,
                began_at=at(each.at),
                ended_at=at_or_none(each.ended_at),
                outcome=each.outcome,
            )
            for each in found.tries
        ],
    )


async def look(call: Call) -> Checkup:
    """Look at every part again; the answer is what was found before."""
    call.app[UPKEEP].look(by=call.user)
    return await show_checkup(call)


async def use_remedy(call: Call, remedy: Remedy) -> Checkup:
    """Begin what a finding of the last look names. 409: nothing is wrong that it would put right."""
    await call.app[UPKEEP].use(remedy, by=call.user)
    return await show_checkup(call)

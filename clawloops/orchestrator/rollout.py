"""Which member is moved to the wanted image next: a canary first, then one after the other. Pure.

A member follows the install's image, or a pin of its own, which is no part of the rollout. Images are compared by what
they are on this host now (their id): another tag of the same image stops nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from clawloops.model.rollout import Rollout, RolloutState
from clawloops.model.runtime import Runtime, Want
from clawloops.model.workspace import Job, JobState
from clawloops.orchestrator.upgrade import CANCELLED
from clawloops.store.rollouts import FORGIVEN

MOST_FAILED = 2  # so many members beside the canary that went back halt it
PATIENCE_MS = 600_000  # one that is in use for so long lets another go first


@dataclass(frozen=True, slots=True)
class Begin:
    """Write this rollout down; what failed before it does not count in it."""

    rollout: Rollout


@dataclass(frozen=True, slots=True)
class Tell:
    """The rollout is as far as this."""

    rollout: Rollout


@dataclass(frozen=True, slots=True)
class Upgrade:
    runtime_id: str
    image: str


@dataclass(frozen=True, slots=True)
class Rename:
    """It is on this very image under another name: note the name of today, which outlives the old one."""

    runtime_id: str
    image: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Cancel an upgrade that has not begun."""

    job_id: str


Step = Begin | Tell | Upgrade | Rename | Withdraw


@dataclass(frozen=True, slots=True)
class Seen:
    """All that a decision depends on."""

    target: str  # the install's image
    rows: Sequence[Runtime]  # of all members, oldest first
    jobs: Sequence[Job]  # every upgrade that is remembered
    rollout: Rollout | None  # the one to the target, if it is the latest
    ids: Mapping[str, str]  # image id by name, for those that are on this host
    chosen: str = ""  # the canary that an admin has chosen, "" when none was
    held: frozenset[str] = frozenset()  # runtimes that nothing is done with until somebody has looked at them
    usual: Sequence[str] = ()  # runtimes that would rather be the canary than others, best first


def next_step(seen: Seen, *, now: int) -> Step | None:
    """The one thing to do now; None while there is nothing to do, or something to wait for. `now`: Unix ms."""
    rows = {each.id: each for each in seen.rows}
    for each in seen.rows:
        if each.image not in ("", _wanted(seen, each)) and _is_on(seen, each) and not each.before_image:
            return Rename(each.id, _wanted(seen, each))
    due = [each for each in seen.rows if _due(seen, each)]
    for job in (under_way := [each for each in _open(seen.jobs) if each.runtime_id not in seen.held]):
        row = rows.get(job.runtime_id)
        if job.state is JobState.PENDING and row is not None and job.argument != _wanted(seen, row):
            return Withdraw(job.id)
    stopped = next((each for each in _open(seen.jobs) if each.runtime_id in seen.held), None)
    if stopped is not None and stopped.state is JobState.PENDING:
        return Withdraw(stopped.id)
    if under_way:
        job = under_way[0]
        return Withdraw(job.id) if job.state is JobState.PENDING and _gives_way(seen, job, due, now=now) else None
    rolled = _roll(seen, rows, [each for each in due if not each.pin], now=now)
    # They wait for no canary: a pin is an admin's own word, and without its image none can start.
    urgent = [each for each in due if not _failed(seen, each) and (each.pin or each.image not in seen.ids)]
    if not urgent or isinstance(rolled, Begin | Tell):  # which only writes down how far it is
        return rolled
    asked, first = _asked(seen), min(urgent, key=_turn(seen))
    if isinstance(rolled, Upgrade) and asked.get(rolled.runtime_id, 0) < asked.get(first.id, 0):
        return rolled  # it had its turn, and was in use
    return Upgrade(first.id, _wanted(seen, first))


def _gives_way(seen: Seen, job: Job, due: Sequence[Runtime], *, now: int) -> bool:
    """Whether one that waits until nobody uses it lets another go first; a canary does only for the chosen one."""
    others = [each for each in due if each.id != job.runtime_id and _may_go(seen, each)]
    rollout = seen.rollout
    if rollout is not None and rollout.state is RolloutState.CANARY and job.runtime_id == rollout.canary:
        return seen.chosen in [each.id for each in others if not each.pin]
    return bool(others) and not 0 <= now - job.created_at <= PATIENCE_MS


def _roll(seen: Seen, rows: Mapping[str, Runtime], due: list[Runtime], *, now: int) -> Step | None:
    able = [each for each in due if not _failed(seen, each)]
    rollout = seen.rollout
    if rollout is None:
        if not due:
            return None
        note = "one member's workspace is tried first"
        return Begin(Rollout(seen.target, _canary(seen, due), RolloutState.CANARY, note, now, 0))
    match rollout.state:
        case RolloutState.HALTED:
            return None
        case RolloutState.CANARY:
            return _try_canary(seen, rollout, rows, able, now=now)
        case RolloutState.REST | RolloutState.DONE:
            failed = [each for each in due if _failed(seen, each)]
            if len(failed) >= MOST_FAILED:
                why = _failed(seen, failed[-1])
                return _tell(rollout, RolloutState.HALTED, f"{len(failed)} workspaces went back: {why}", now=now)
            if not able:
                return _tell(rollout, RolloutState.DONE, _count(seen, failed), now=now)
            return _tell(rollout, RolloutState.REST, _count(seen, failed)) or Upgrade(
                min(able, key=_turn(seen)).id, seen.target
            )


def _try_canary(
    seen: Seen, rollout: Rollout, rows: Mapping[str, Runtime], able: list[Runtime], *, now: int
) -> Step | None:
    row = rows.get(rollout.canary)
    if row is not None and not row.pin and (why := _failed(seen, row)):
        return _tell(rollout, RolloutState.HALTED, f"the canary {row.slug} went back: {why}", now=now)
    if (
        row is not None
        and row.want is not Want.GONE
        and not row.pin
        and row.image
        and not row.before_image
        and _is_on(seen, row)
    ):
        return _tell(rollout, RolloutState.REST, _count(seen, []))
    if not able:
        return _tell(rollout, RolloutState.CANARY, "there is nobody now whose workspace could be tried first")
    canary = _canary(seen, able, rollout.canary)
    if canary != rollout.canary:
        return Tell(replace(rollout, canary=canary))
    return Upgrade(canary, seen.target)


def _canary(seen: Seen, due: Sequence[Runtime], now: str = "") -> str:
    """Whoever an admin has chosen, if it can be moved; else the one it is now, the usual ones, the oldest."""
    ids = [each.id for each in due]
    return next((each for each in (seen.chosen, now, *seen.usual) if each in ids), ids[0])


def _tell(rollout: Rollout, state: RolloutState, note: str, *, now: int = 0) -> Tell | None:
    """None when that is what is written down already. `now`: Unix ms, for a state that is an end."""
    if (rollout.state, rollout.note) == (state, note):
        return None
    return Tell(replace(rollout, state=state, note=note, ended_at=now))


def _count(seen: Seen, failed: Sequence[Runtime]) -> str:
    members = [each for each in seen.rows if each.volume_at and each.want is not Want.GONE and not each.pin]
    done = f"{sum(1 for each in members if _is_on(seen, each))} of {len(members)}"
    return "; ".join([done, *(f"{each.slug} went back: {_failed(seen, each)}" for each in failed)])


def _wanted(seen: Seen, row: Runtime) -> str:
    return row.pin or seen.target


def _is_on(seen: Seen, row: Runtime) -> bool:
    """One whose image was never noted counts as on the wanted one: its next container is made of that."""
    wanted = _wanted(seen, row)
    if row.image in ("", wanted):
        return True
    return row.image in seen.ids and seen.ids[row.image] == seen.ids.get(wanted)


def _due(seen: Seen, row: Runtime) -> bool:
    """Whether it has a state that belongs to another image, and can be moved now.

    A pin that is not on this host is tried, so that its failure tells the admin; the install's image is waited for.
    """
    free = row.want is not Want.GONE and row.volume_at > 0 and not row.before_image and row.id not in seen.held
    return free and (row.pin != "" or seen.target in seen.ids) and not _is_on(seen, row)


def _may_go(seen: Seen, row: Runtime) -> bool:
    halted = seen.rollout is not None and seen.rollout.state is RolloutState.HALTED
    return not _failed(seen, row) and (bool(row.pin) or row.image not in seen.ids or not halted)


def _failed(seen: Seen, row: Runtime) -> str:
    """Why it went back from the image that it should be on, "" when it did not."""
    mine = (each for each in seen.jobs if each.runtime_id == row.id and each.argument == _wanted(seen, row))
    return next((each.note for each in mine if each.state is JobState.FAILED and counts(each)), "")


def counts(job: Job) -> bool:
    """Whether a failed upgrade keeps its runtime from being moved again."""
    return not job.note.startswith((CANCELLED, FORGIVEN))


def _turn(seen: Seen) -> Callable[[Runtime], tuple[int, int, str]]:
    """Those that were asked least lately come first."""
    asked = _asked(seen)
    return lambda row: (asked.get(row.id, 0), row.created_at, row.id)


def _asked(seen: Seen) -> Mapping[str, int]:
    """Unix ms at which each was last to be moved, whatever came of it."""
    return {each.runtime_id: each.created_at for each in sorted(seen.jobs, key=lambda each: each.created_at)}


def _open(jobs: Sequence[Job]) -> list[Job]:
    return [each for each in jobs if each.state in (JobState.PENDING, JobState.RUNNING)]

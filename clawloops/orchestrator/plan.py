"""From the wish and one look at Docker to the next steps. Pure: the same arguments always give the same steps.

The steps are done one at a time, and Docker is looked at again after each; `[]` means that there is nothing to do now
(all is as wanted, or something must first end, come back or be repaired by a person).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from clawloops.model.runtime import Runtime, Sleep, Want
from clawloops.model.workspace import Hold
from clawloops.orchestrator.actions import (
    Action,
    Attach,
    ConnectEdge,
    Create,
    Forget,
    Kill,
    Limit,
    MakeNetwork,
    Pause,
    Remove,
    RemoveNetwork,
    Start,
    Stop,
    Unpause,
    WriteConfig,
)
from clawloops.runtimes.seen import Container, Network, State
from clawloops.runtimes.spec import DRAIN_S

LONGEST_WAIT_MS = 300_000
HURRY_MS = 10_000  # for so long, one that is held because a wall is open may end by itself


class Aim(StrEnum):
    """Where a runtime has to be: its member's wish, its sleep and the work on its workspace taken together."""

    UP = "up"
    PAUSED = "paused"  # or down: whatever is not running stays as it is
    DOWN = "down"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class World:
    """One look at everything that a runtime consists of. Containers: only those with its labels."""

    containers: Sequence[Container]
    network: Network | None
    image_present: bool  # and fit to be used: an image that carries our labels or Traefik's is not
    config_ok: bool  # the files on disk, but for the token, are what would be written now
    token_ok: bool  # the token on disk is the one of the current generation
    folder: bool  # there are files of it on disk
    volume: bool = True  # its workspace volume is there, or may be made
    sandbox: bool = True  # the host has what it is to run in


@dataclass(frozen=True, slots=True)
class Wanted:
    """What its one container must be like."""

    aim: Aim
    name: str
    spec: str
    memory: int  # limit in bytes
    volume: str  # name of its workspace volume; one that works on another is never kept
    squeeze: int | None = None  # limit in bytes while it is paused; None: leave its memory where it is
    may_replace: bool = False  # one that runs with an older spec may be ended now: nobody uses it
    hurry: bool = False  # a wall around it is open: whatever has to end has to end now


def aim(desired: Runtime, hold: Hold) -> Aim:
    """The level to reach. Work on the workspace goes before sleep, and nothing brings back what is to be gone."""
    match desired.want, desired.sleep:
        case Want.GONE, _:
            return Aim.GONE
        case Want.RUNNING, Sleep.AWAKE:
            free = Aim.UP
        case Want.RUNNING, Sleep.PAUSED:
            free = Aim.PAUSED
        case _:
            free = Aim.DOWN
    match hold:
        case Hold.NONE:
            return free
        case Hold.UP:
            return Aim.UP
        case Hold.DOWN:
            return Aim.DOWN
        case Hold.QUIET:
            return Aim.DOWN if free is Aim.DOWN else Aim.PAUSED


def shut(free: Aim, *, own: bool) -> Aim:
    """The level to reach while a wall is open. What is frozen does nothing, and stays, unless the wall is its `own`."""
    match free:
        case Aim.UP:
            return Aim.DOWN
        case Aim.PAUSED if own:
            return Aim.DOWN
        case _:
            return free


def opened(world: World) -> str:
    """What is open around a runtime that has a process, in words; "" when its network is as it must be."""
    up = [each for each in world.containers if each.state.up]
    for each in up:
        if each.elsewhere:
            return f"its container was put on another network ({each.elsewhere[0]})"
    network = world.network
    if network is None or not any(each.network_id == network.id for each in up):
        return ""
    if not (network.ours and network.exact):
        return "its network was replaced by one that may lead out"
    return "another container was put on its network" if strangers(world) else ""


def strangers(world: World) -> list[str]:
    """Ids of the containers on its network that are neither the edge nor its own."""
    own = {each.id for each in world.containers}
    return [each for each in (world.network.others if world.network else ()) if each not in own]


def plan(desired: Runtime, world: World, wanted: Wanted, *, now: int, draining: Mapping[str, int]) -> list[Action]:
    """The next steps, in order. `now` is in Unix ms.

    `draining`: for each container that was sent SIGTERM, how many ms ago.
    """
    kept = keep(world, wanted)
    stale = [container for container in world.containers if container is not kept]
    match wanted.aim:
        case Aim.GONE:
            return _gone(world, wanted, draining)
        case Aim.DOWN:
            return _ended(stale, wanted, draining) + (_ending(kept, world, wanted, draining) if kept else [])
        case _ if stale:
            return _ended(stale, wanted, draining)  # never two on one workspace, whatever else is missing
        case Aim.PAUSED:
            return _paused(kept, world, wanted, draining)
        case Aim.UP if waiting(desired, now):
            return []
        case Aim.UP:
            return _connected(world) or _running(kept, world, wanted, draining)


def keep(world: World, wanted: Wanted) -> Container | None:
    """The one container that is, or comes nearest to, what is wanted; None when there is none worth keeping."""
    startable = [
        each
        for each in world.containers
        if each.state not in (State.REMOVING, State.DEAD) and each.volume == wanted.volume
    ]
    best = max(
        startable, key=lambda each: (each.spec == wanted.spec, each.name == wanted.name, each.state.up), default=None
    )
    if best is None or not (world.image_present and world.volume and world.sandbox):
        return best  # never remove what cannot be replaced
    if wanted.aim is not Aim.UP and best.name == wanted.name:
        return best
    fits = best.name == wanted.name and world.token_ok and not by_hand(best)
    return best if fits and (not outdated(best, wanted) or patient(best, wanted)) else None


def by_hand(container: Container) -> tuple[str, ...]:
    """What somebody changed about it. An image that was built again under its tag is not that, and neither is a limit
    that was lowered for a pause and outlived it: it is raised before the next start.
    """
    ours = {"Image"} if container.state is State.RUNNING else {"Image", "Memory"}
    return tuple(each for each in container.edited if each not in ours)


def outdated(container: Container, wanted: Wanted) -> bool:
    """Whether it would be made otherwise now."""
    return container.spec != wanted.spec or "Image" in container.edited


def patient(container: Container, wanted: Wanted) -> bool:
    """Whether one that is outdated goes on for now: somebody may be using it."""
    return container.state in (State.RUNNING, State.PAUSED) and not wanted.may_replace


def waiting(desired: Runtime, now: int) -> bool:
    """Whether the next try has to wait. A clock that was set back makes nobody wait longer than usual."""
    return 0 < desired.retry_at - now <= LONGEST_WAIT_MS


def backoff_ms(failures: int, *, jitter: float) -> int:
    """The wait after this many failures in a row: 1 s, doubling up to 300 s. `jitter` 0…1 shortens it by ≤ 20 %."""
    longest = min(LONGEST_WAIT_MS, 1000 * 2 ** min(max(failures - 1, 0), 10))
    return max(1000, int(longest * (1 - 0.2 * jitter)))


def _gone(world: World, wanted: Wanted, draining: Mapping[str, int]) -> list[Action]:
    if world.containers:
        return _ended(world.containers, wanted, draining)
    if world.network and world.network.ours:
        return [RemoveNetwork(world.network)]
    return [Forget()] if world.folder else []


def _connected(world: World) -> list[Action]:
    network = world.network
    if network is None:
        return [MakeNetwork()]
    if not network.ours:
        return []  # a person has to look: phase.py says so
    if not network.exact or strangers(world):
        return [RemoveNetwork(network), MakeNetwork()]
    return [] if network.edge else [ConnectEdge(network.id)]


def _paused(kept: Container | None, world: World, wanted: Wanted, draining: Mapping[str, int]) -> list[Action]:
    if kept is None:
        return []
    if kept.id in draining:
        return _down(kept, wanted, draining)
    steps: list[Action] = [] if world.config_ok else [WriteConfig()]
    if world.network and world.network.ours and world.network.exact and not world.network.edge:
        steps.append(ConnectEdge(world.network.id))  # or its visitors would not find it
    if kept.state is State.RUNNING:
        steps.append(Pause(kept.id))
    elif (
        kept.state is State.PAUSED and not kept.is_rigid and wanted.squeeze is not None and kept.memory > wanted.squeeze
    ):
        steps.append(Limit(kept.id, wanted.squeeze))
    return steps


def _running(kept: Container | None, world: World, wanted: Wanted, draining: Mapping[str, int]) -> list[Action]:
    network = world.network
    if network is None or not network.ours:  # nothing can start; what is ending still has to end
        return _down(kept, wanted, draining) if kept and kept.id in draining else []
    if not world.volume:
        return []
    if not world.sandbox and (kept is None or not kept.state.up):
        return []  # nothing starts in less than was asked for; what runs goes on
    if kept is None:
        return [Create()] if world.image_present else []
    steps: list[Action] = [] if world.config_ok else [WriteConfig()]
    by_name = kept.network_id == "" and not kept.state.up  # the Engine looks the network up when it starts
    if kept.network_id != network.id and not by_name:
        steps.append(Attach(kept.id, network.id))
    steps += _limited(kept, wanted)
    match kept.state:
        case State.CREATED | State.EXITED:
            steps.append(Start(kept.id))
        case State.PAUSED:
            steps.append(Unpause(kept.id))
        case State.RUNNING if kept.id in draining:  # wanted again while it ends: it has to end before it can start
            steps += _down(kept, wanted, draining)
        case State.RUNNING | State.RESTARTING | State.REMOVING | State.DEAD:
            pass
    return steps


def _limited(container: Container, wanted: Wanted) -> list[Action]:
    """A limit that was lowered, by us for a pause or by hand, is put back before anything runs in it."""
    if container.memory == 0 or (container.is_rigid and container.state is State.PAUSED):  # or a kernel without limits
        return []
    older = container.spec != wanted.spec  # made with another limit, perhaps: only one that was lowered is raised
    raised = container.memory >= wanted.memory if older else container.memory == wanted.memory
    return [] if raised else [Limit(container.id, wanted.memory)]


def _ended(containers: Iterable[Container], wanted: Wanted, draining: Mapping[str, int]) -> list[Action]:
    return [step for each in containers for step in _end(each, wanted, draining)]


def _end(container: Container, wanted: Wanted, draining: Mapping[str, int]) -> list[Action]:
    match container.state:
        case State.RUNNING | State.PAUSED | State.RESTARTING:
            return _down(container, wanted, draining)
        case State.CREATED | State.EXITED:
            return [Remove(container.id)]
        case State.DEAD:
            return [Remove(container.id, force=True)]
        case State.REMOVING:
            return []


def _ending(kept: Container, world: World, wanted: Wanted, draining: Mapping[str, int]) -> list[Action]:
    if not kept.state.up:
        return []
    # It may go on for minutes to end its turn: who is shut out is so at once.
    return ([] if world.config_ok else [WriteConfig()]) + _down(kept, wanted, draining)


def _down(container: Container, wanted: Wanted, draining: Mapping[str, int]) -> list[Action]:
    if container.state is State.PAUSED and wanted.hurry:
        return [Kill(container.id)]
    if container.state is State.PAUSED:  # it hears no signal, and to hear one it needs its memory back
        lowered = not container.is_rigid and container.memory < wanted.memory and container.name == wanted.name
        return [Limit(container.id, wanted.memory), Unpause(container.id)] if lowered else [Unpause(container.id)]
    if container.id not in draining:
        return [Stop(container.id, container.young)]
    return [Kill(container.id)] if draining[container.id] > (HURRY_MS if wanted.hurry else DRAIN_S * 1000) else []

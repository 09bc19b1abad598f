"""From the wish and one look at Docker to the next steps. Pure: the same arguments always give the same steps.

The steps are done one at a time, and Docker is looked at again after each; `[]` means that there is nothing to do now
(all is as wanted, or something must first end, come back or be repaired by a person).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from clawloops.model.runtime import Runtime, Want
from clawloops.runtimes.seen import Container, Network, State
from clawloops.runtimes.spec import DRAIN_S

LONGEST_WAIT_MS = 300_000


@dataclass(frozen=True, slots=True)
class World:
    """One look at everything that a runtime consists of. Containers: only those with its labels."""

    containers: Sequence[Container]
    network: Network | None
    image_present: bool
    config_ok: bool  # the file on disk is what would be written now
    token_ok: bool  # the token on disk is the one of the current generation
    folder: bool  # there are files of it on disk


@dataclass(frozen=True, slots=True)
class MakeNetwork:
    pass


@dataclass(frozen=True, slots=True)
class RemoveNetwork:
    network: Network


@dataclass(frozen=True, slots=True)
class ConnectEdge:
    network_id: str


@dataclass(frozen=True, slots=True)
class WriteConfig:
    """Replace the configuration file; a running OpenClaw reads it within about a second."""


@dataclass(frozen=True, slots=True)
class Create:
    """A new token and generation, both files, the volume, then the container."""


@dataclass(frozen=True, slots=True)
class Attach:
    container: str
    network_id: str


@dataclass(frozen=True, slots=True)
class Start:
    container: str


@dataclass(frozen=True, slots=True)
class Unpause:
    container: str


@dataclass(frozen=True, slots=True)
class Stop:
    """SIGTERM: OpenClaw ends its running turn first, for up to DRAIN_S seconds."""

    container: str
    young: bool = False  # wait a moment before, or the signal is lost


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL, once the time to drain is over."""

    container: str


@dataclass(frozen=True, slots=True)
class Remove:
    container: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove its files on disk and its token. The workspace volume stays."""


Action = (
    MakeNetwork
    | RemoveNetwork
    | ConnectEdge
    | WriteConfig
    | Create
    | Attach
    | Start
    | Unpause
    | Stop
    | Kill
    | Remove
    | Forget
)


def plan(
    desired: Runtime, world: World, *, name: str, spec: str, now: int, draining: Mapping[str, int]
) -> list[Action]:
    """The next steps, in order. `name` and `spec` are what its container must have, `now` is in Unix ms.

    `draining`: for each container that was sent SIGTERM, how many ms ago.
    """
    kept = keep(world, name=name, spec=spec)
    stale = [container for container in world.containers if container is not kept]
    match desired.want:
        case Want.GONE:
            return _gone(world, draining)
        case Want.STOPPED:
            return _ended(stale, draining) + (_down(kept, draining) if kept and kept.state.up else [])
        case Want.RUNNING if stale:
            return _ended(stale, draining)  # never two on one workspace: the old one first, whatever else is missing
        case Want.RUNNING if waiting(desired, now):
            return []
        case Want.RUNNING:
            return _connected(world) or _running(kept, world, draining)


def keep(world: World, *, name: str, spec: str) -> Container | None:
    """The one container that is, or comes nearest to, what is wanted; None when there is none worth keeping."""
    startable = [each for each in world.containers if each.state not in (State.REMOVING, State.DEAD)]
    best = max(startable, key=lambda each: (each.spec == spec, each.name == name, each.state.up), default=None)
    if best is None or not world.image_present:
        return best  # never remove what cannot be replaced
    return best if best.spec == spec and best.name == name and world.token_ok else None


def waiting(desired: Runtime, now: int) -> bool:
    """Whether the next try has to wait. A clock that was set back makes nobody wait longer than usual."""
    return 0 < desired.retry_at - now <= LONGEST_WAIT_MS


def backoff_ms(failures: int, *, jitter: float) -> int:
    """The wait after this many failures in a row: 1 s, doubling up to 300 s. `jitter` 0…1 shortens it by ≤ 20 %."""
    longest = min(LONGEST_WAIT_MS, 1000 * 2 ** min(max(failures - 1, 0), 10))
    return max(1000, int(longest * (1 - 0.2 * jitter)))


def _gone(world: World, draining: Mapping[str, int]) -> list[Action]:
    if world.containers:
        return _ended(world.containers, draining)
    if world.network and world.network.ours:
        return [RemoveNetwork(world.network)]
    return [Forget()] if world.folder else []


def _connected(world: World) -> list[Action]:
    network = world.network
    if network is None:
        return [MakeNetwork()]
    if not network.ours:
        return []  # a person has to look: phase.py says so
    if not network.exact:
        return [RemoveNetwork(network), MakeNetwork()]
    return [] if network.edge else [ConnectEdge(network.id)]


def _running(kept: Container | None, world: World, draining: Mapping[str, int]) -> list[Action]:
    network = world.network
    if network is None or not network.ours:  # nothing can start; what is ending still has to end
        return _down(kept, draining) if kept and kept.id in draining else []
    if kept is None:
        return [Create()] if world.image_present else []
    steps: list[Action] = [] if world.config_ok else [WriteConfig()]
    by_name = kept.network_id == "" and not kept.state.up  # the Engine looks the network up when it starts
    if kept.network_id != network.id and not by_name:
        steps.append(Attach(kept.id, network.id))
    match kept.state:
        case State.CREATED | State.EXITED:
            steps.append(Start(kept.id))
        case State.PAUSED:
            steps.append(Unpause(kept.id))
        case State.RUNNING if kept.id in draining:  # wanted again while it ends: it has to end before it can start
            steps += _down(kept, draining)
        case State.RUNNING | State.RESTARTING | State.REMOVING | State.DEAD:
            pass
    return steps


def _ended(containers: Iterable[Container], draining: Mapping[str, int]) -> list[Action]:
    return [step for each in containers for step in _end(each, draining)]


def _end(container: Container, draining: Mapping[str, int]) -> list[Action]:
    match container.state:
        case State.RUNNING | State.PAUSED | State.RESTARTING:
            return _down(container, draining)
        case State.CREATED | State.EXITED:
            return [Remove(container.id)]
        case State.DEAD:
            return [Remove(container.id, force=True)]
        case State.REMOVING:
            return []


def _down(container: Container, draining: Mapping[str, int]) -> list[Action]:
    if container.state is State.PAUSED:
        return [Unpause(container.id)]  # a paused one hears no signal
    if container.id not in draining:
        return [Stop(container.id, container.young)]
    return [Kill(container.id)] if draining[container.id] > DRAIN_S * 1000 else []

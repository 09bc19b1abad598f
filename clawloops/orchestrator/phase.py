"""What a person is told about a runtime, derived from the same look at Docker that the plan was made from."""

from __future__ import annotations

from dataclasses import dataclass

from clawloops.model.runtime import Phase, Runtime, Sleep, Want
from clawloops.orchestrator.plan import Aim, World
from clawloops.runtimes import sandboxes
from clawloops.runtimes.seen import Container, State

GIVE_UP_AFTER = 5  # failures in a row: from there on the person is told, while it is still tried again
SLOW_BOOT_MS = 180_000
PENDING = "New settings are waiting for a restart: it comes when nobody uses the workspace, or now with Restart."


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known beside the row and the look at Docker."""

    aim: Aim
    ready: bool  # the probe says so
    booting_ms: int  # how long it has run unready
    image: str
    image_refused: tuple[str, ...] = ()  # labels of the image for which it is not used
    obstacle: str = ""  # why the last step was refused, "" when it was not
    queued: str = ""  # why it waits for its turn to start, "" when it does not
    work: str = ""  # what is being done to its workspace, "" when nothing is
    shut: str = ""  # why it may not run now: a wall around it is open; "" when it may


def derive(desired: Runtime, world: World, kept: Container | None, facts: Facts) -> tuple[Phase, str]:
    """The phase, and with DEGRADED, QUEUED and WORKING one sentence that says what is the matter or what to do."""
    up = any(container.state.up for container in world.containers)
    if facts.shut and desired.want is Want.RUNNING:
        return Phase.DEGRADED, facts.shut
    if facts.work and desired.want is not Want.GONE:
        return (Phase.QUEUED, facts.queued) if facts.queued else (Phase.WORKING, facts.work)
    match facts.aim:
        case Aim.GONE:
            return (Phase.STOPPING if up else Phase.ABSENT), ""
        case Aim.DOWN if up:
            return Phase.STOPPING, ""
        case Aim.DOWN:
            return (Phase.ASLEEP if asleep(desired) else Phase.STOPPED), ""
        case Aim.PAUSED if kept is not None and kept.state is State.PAUSED:
            return Phase.PAUSED, ""
        case Aim.PAUSED if not up:
            return Phase.ASLEEP, ""
        case _:
            return _opening(desired, world, kept, facts)


def asleep(desired: Runtime) -> bool:
    """Whether it is wanted running and sleeps: any visit wakes it."""
    return desired.want is Want.RUNNING and desired.sleep is not Sleep.AWAKE


def _opening(desired: Runtime, world: World, kept: Container | None, facts: Facts) -> tuple[Phase, str]:
    network = world.network
    running = kept is not None and kept.state in (State.RUNNING, State.PAUSED)
    if (reason := _hopeless(desired, world, kept, facts)) is not None:
        return Phase.DEGRADED, reason
    connected = network is not None and network.exact and network.edge
    if facts.obstacle and not (running and connected):  # a refusal is told at once
        return Phase.DEGRADED, facts.obstacle
    if desired.failures >= GIVE_UP_AFTER and not running:  # a crash when it repeats: most are over with the next start
        return Phase.DEGRADED, f"{desired.failure} ({desired.failures} times in a row; it is tried again by itself)"
    if facts.queued and not running:
        return Phase.QUEUED, facts.queued
    if not connected:
        return Phase.NETWORK, ""
    if not running:
        return Phase.CONTAINER, ""
    if kept is not None and kept.state is State.PAUSED:  # about to go on: until then nothing in it answers
        return Phase.PAUSED, ""
    if facts.ready:
        return Phase.READY, ""
    if facts.booting_ms > SLOW_BOOT_MS:
        return Phase.DEGRADED, (
            f"OpenClaw runs but has not been ready for {facts.booting_ms // 60_000} minutes; its log tells why, "
            "or restart the workspace"
        )
    return Phase.BOOT, ""


def _hopeless(desired: Runtime, world: World, kept: Container | None, facts: Facts) -> str | None:
    """Why it cannot come up until a person does something; None when nothing of the kind is known."""
    if world.network is not None and not world.network.ours:
        return (
            "a Docker network that is not ours has the name of this workspace's network; "
            "an administrator removes or renames it (docker network ls)"
        )
    if not world.volume and (kept is None or not kept.state.up):
        return (
            "the Docker volume with the files of this workspace is gone; restore a snapshot, "
            "or start again with an empty workspace"
        )
    if not world.sandbox and (kept is None or not kept.state.up):
        return sandboxes.MISSING
    if facts.image_refused and kept is None:
        return (
            f"the image {facts.image} carries labels that are ours or Traefik's ({', '.join(facts.image_refused)}) "
            "and could route itself; an administrator takes another image, or builds it without them"
        )
    if not world.image_present and kept is None:
        return f"the image {facts.image} is not on this host; an administrator runs ./install.sh to get it"
    return None


def ended_because(container: Container, *, memory_mb: int) -> str:
    """Why a container ended by itself, in words."""
    if container.oom_killed:
        return f"OpenClaw needed more memory than its limit of {memory_mb} MiB and was ended"
    match container.exit_code:
        case 78:
            return "OpenClaw refused its saved state: it was written by a newer version (exit code 78)"
        case 137:
            return "OpenClaw was killed (exit code 137)"
        case code:
            return f"OpenClaw stopped by itself with exit code {code}"

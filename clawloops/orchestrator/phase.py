"""What a person is told about a runtime, derived from the same look at Docker that the plan was made from."""

from __future__ import annotations

from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.orchestrator.plan import World
from clawloops.runtimes.seen import Container, State

GIVE_UP_AFTER = 5  # failures in a row: from there on the person is told, while it is still tried again
SLOW_BOOT_MS = 180_000


def derive(
    desired: Runtime,
    world: World,
    kept: Container | None,
    *,
    ready: bool,
    booting_ms: int,
    image: str,
    obstacle: str,
) -> tuple[Phase, str]:
    """The phase, and with DEGRADED one sentence that says what to do.

    `booting_ms`: how long it has run unready; `obstacle`: why the last step was refused, "" when it was not.
    """
    up = any(container.state.up for container in world.containers)
    match desired.want:
        case Want.GONE:
            return (Phase.STOPPING if up else Phase.ABSENT), ""
        case Want.STOPPED:
            return (Phase.STOPPING if up else Phase.STOPPED), ""
        case Want.RUNNING:
            return _opening(desired, world, kept, ready=ready, booting_ms=booting_ms, image=image, obstacle=obstacle)


def _opening(
    desired: Runtime,
    world: World,
    kept: Container | None,
    *,
    ready: bool,
    booting_ms: int,
    image: str,
    obstacle: str,
) -> tuple[Phase, str]:
    network = world.network
    running = kept is not None and kept.state in (State.RUNNING, State.PAUSED)
    if network is not None and not network.ours:
        return Phase.DEGRADED, (
            "a Docker network that is not ours has the name of this workspace's network; "
            "an administrator removes or renames it (docker network ls)"
        )
    if not world.image_present and kept is None:
        return Phase.DEGRADED, f"the image {image} is not on this host; an administrator runs ./install.sh to get it"
    connected = network is not None and network.exact and network.edge
    if obstacle and not (running and connected):  # a refusal is told at once
        return Phase.DEGRADED, obstacle
    if desired.failures >= GIVE_UP_AFTER and not running:  # a crash when it repeats: most are over with the next start
        return Phase.DEGRADED, f"{desired.failure} ({desired.failures} times in a row; it is tried again by itself)"
    if not connected:
        return Phase.NETWORK, ""
    if not running:
        return Phase.CONTAINER, ""
    if ready:
        return Phase.READY, ""
    if booting_ms > SLOW_BOOT_MS:
        return Phase.DEGRADED, (
            f"OpenClaw runs but has not become ready for {booting_ms // 60_000} minutes; stop and start the workspace, "
            "or an administrator reads its log (docker logs)"
        )
    return Phase.BOOT, ""


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

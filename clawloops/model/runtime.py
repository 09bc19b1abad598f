"""A member's OpenClaw runtime: what is wanted (stored), what was seen in Docker (never stored), what people see."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Want(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    GONE = "gone"  # no container and no network; the workspace volume stays


class Sleep(StrEnum):
    """What the orchestrator decided about a runtime that is wanted running. Any visit wakes it."""

    AWAKE = "awake"
    PAUSED = "paused"  # frozen: no CPU, its memory where it is; back in well under a second
    STOPPED = "stopped"  # no memory; back in a boot


class Policy(StrEnum):
    """How deep an idle runtime may sleep."""

    ALWAYS_ON = "always-on"
    PAUSE = "pause"
    STOP = "stop"  # paused first, stopped later or when the box is short of memory


class Sandbox(StrEnum):
    """What a runtime's container runs in, by the name under which the Docker Engine knows it."""

    RUNC = "runc"  # the Engine's own way: this host's kernel, with the usual walls
    RUNSC = "runsc"  # gVisor: a kernel of its own in user space between the agent and the host's


class Size(StrEnum):
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one container may use."""

    memory_mb: int
    cpus: float
    pids: int


def limits(size: Size, *, memory_mb: int, cpus: float) -> Limits:
    """The limits of a size. `memory_mb` and `cpus` are those of a medium runtime, as the install sets them."""
    match size:
        case Size.SMALL:
            return Limits(memory_mb * 3 // 4, max(0.5, cpus / 2), 256)
        case Size.MEDIUM:
            return Limits(memory_mb, cpus, 512)
        case Size.LARGE:
            return Limits(memory_mb * 2, cpus * 2, 1024)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The wish, as stored. `version` rises with every change of the row, `generation` with every new token."""

    id: str  # "r" + 16 hex
    owner: str  # user id; one runtime per user
    slug: str  # host label of the workspace; never reused, not even for another user
    want: Want
    subnet: str  # its own /29, in CIDR notation; unique
    generation: int
    token_hash: bytes | None  # SHA-256 of the model token of the current generation
    version: int
    failures: int  # starts that failed in a row; drives the backoff
    failure: str  # the reason of the last one, "" when there is none
    retry_at: int  # Unix ms before which the loop does not try again; 0 when free
    created_at: int
    sleep: Sleep = Sleep.AWAKE
    sleep_why: str = ""  # why it sleeps, or what woke it; a sentence for a person
    sleep_at: int = 0  # Unix ms of that decision
    wake_at: int = 0  # Unix ms at which OpenClaw's next scheduled job is due; 0 when there is none
    policy: Policy = Policy.STOP
    sleeps_despite_polling: bool = False  # its owner lets it sleep although a channel polls
    size: Size = Size.MEDIUM
    pin: str = ""  # image that an admin has fixed for this member; "" follows the install
    image: str = ""  # image that its state belongs to; "" before the first container
    volume: int = 0  # number of its workspace volume
    volume_at: int = 0  # Unix ms at which that volume was first used; 0: it may be made, later it must be there
    before_image: str = ""  # while an upgrade is on trial: what to go back to; "" otherwise
    before_volume: int = 0
    hook_hash: bytes | None = None  # SHA-256 of the token for its webhook address; None: it has no such address
    decoy: int = 0  # number of its decoy key; rises when an admin has dealt with those before
    model: str = ""  # id of the model that its member has chosen; "", and one that is gone: the default of the box


class Phase(StrEnum):
    """What a person is told. Derived from Docker and the probe at each observation."""

    ABSENT = "absent"  # nothing made yet
    NETWORK = "network"  # its network is being made
    CONTAINER = "container"  # its container is being made
    BOOT = "boot"  # the container runs, OpenClaw is not ready yet
    READY = "ready"  # /startupz answered
    QUEUED = "queued"  # waits for its turn to start; `View.place` says where it stands
    PAUSED = "paused"  # frozen because nobody used it; the next visit goes on at once
    ASLEEP = "asleep"  # stopped because nobody used it; the next visit starts it
    WORKING = "working"  # held while its workspace is copied, restored or upgraded; the reason says which
    STOPPING = "stopping"  # draining the running turn
    STOPPED = "stopped"
    DEGRADED = "degraded"  # gave up for now; the reason is shown
    UNKNOWN = "unknown"  # the Docker Engine does not answer


STEPS = (Phase.NETWORK, Phase.CONTAINER, Phase.BOOT, Phase.READY)
"""The stages of opening a workspace, in order, as the progress page lists them."""


@dataclass(frozen=True, slots=True)
class View:
    """One observation of a runtime, as the dashboard, ForwardAuth and the relay read it (memory only)."""

    runtime_id: str
    phase: Phase
    reason: str = ""  # one sentence for a person; with DEGRADED, UNKNOWN and WORKING
    address: str | None = None  # IPv4 address of the running container on its own network; set in BOOT and READY
    since: int = 0  # Unix ms at which this phase began
    steps: tuple[tuple[Phase, int], ...] = ()  # finished stages of the current opening, each with its duration in ms
    why: str = ""  # why it is awake, asleep or stopped; one sentence
    place: tuple[int, int] | None = None  # with QUEUED: its place, and how many wait
    pending: str = ""  # what a restart would bring, and what it waits for; "" when nothing does

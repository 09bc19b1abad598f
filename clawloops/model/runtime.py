"""A member's OpenClaw runtime: what is wanted (stored), what was seen in Docker (never stored), what people see."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Want(StrEnum):
    RUNNING = "running"
    STOPPED = "stopped"
    GONE = "gone"  # no container and no network; the workspace volume stays


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


class Phase(StrEnum):
    """What a person is told. Derived from Docker and the probe at each observation."""

    ABSENT = "absent"  # nothing made yet
    NETWORK = "network"  # its network is being made
    CONTAINER = "container"  # its container is being made
    BOOT = "boot"  # the container runs, OpenClaw is not ready yet
    READY = "ready"  # /startupz answered
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
    reason: str = ""  # one sentence for a person; only with DEGRADED and UNKNOWN
    address: str | None = None  # IPv4 address of the running container on its own network; set in BOOT and READY
    since: int = 0  # Unix ms at which this phase began
    steps: tuple[tuple[Phase, int], ...] = ()  # finished stages of the current opening, each with its duration in ms

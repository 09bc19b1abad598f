"""The steps that a plan is made of: what each does, and nothing of how. Pure data."""

from __future__ import annotations

from dataclasses import dataclass

from clawloops.runtimes.seen import Network


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
    """Replace the decoy and the configuration file; a running OpenClaw reads that within about a second."""


@dataclass(frozen=True, slots=True)
class Create:
    """A new token and generation, all files, the volume, then the container."""


@dataclass(frozen=True, slots=True)
class Attach:
    container: str
    network_id: str


@dataclass(frozen=True, slots=True)
class Start:
    container: str


@dataclass(frozen=True, slots=True)
class Pause:
    container: str


@dataclass(frozen=True, slots=True)
class Limit:
    """Set the memory limit, bytes: lowered while it is paused, so that what nobody uses goes out to swap."""

    container: str
    memory: int


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
    | Pause
    | Limit
    | Unpause
    | Stop
    | Kill
    | Remove
    | Forget
)

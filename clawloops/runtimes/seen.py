"""What one look at Docker showed, as plain data. Never stored, and never written from what was merely asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

YOUNG_MS = 2000


class State(StrEnum):
    """A container's state as the Engine names it (Engine API, `State.Status`)."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"

    @property
    def up(self) -> bool:
        """Whether a process of it exists; a paused one does."""
        return self in (State.RUNNING, State.PAUSED, State.RESTARTING)


@dataclass(frozen=True, slots=True)
class Container:
    id: str
    name: str  # without the slash that the Engine puts before it
    state: State
    spec: str  # the `clawloops.spec` label, "" when there is none
    network_id: str | None  # the network that stands behind ours in its settings; None: it is not on it, "": not yet
    exit_code: int = 0
    oom_killed: bool = False
    finished_at: str = ""  # the Engine's own text; used only to tell one exit from the next
    started_at: str = ""
    young: bool = False  # started within YOUNG_MS: its init may not listen for signals yet, and would lose one
    memory: int = 0  # its limit now, in bytes; lower than promised while its memory is pushed out to swap
    image: str = ""  # id of the image that it was made of
    volume: str = ""  # name of the workspace volume that it works on
    edited: tuple[str, ...] = ()  # settings that are not what its spec label promises, by their Engine names
    is_rigid: bool = False  # in gVisor: frozen, it takes no other limit
    elsewhere: tuple[str, ...] = ()  # names of the networks that it is on beside its own


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    foreign_labels: tuple[str, ...] = ()  # labels with which it would route itself or pass for ours: it is refused
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)  # what a container inherits (Engine, `Config`)


@dataclass(frozen=True, slots=True)
class Network:
    id: str
    ours: bool  # carries this install's and this runtime's labels
    exact: bool  # subnet, gateway, internal and inhibit_ipv4 are as they must be
    edge: bool  # the edge container is on it, with its fixed address
    members: tuple[str, ...] = ()  # ids of the running containers on it
    others: tuple[str, ...] = ()  # those that are not the edge

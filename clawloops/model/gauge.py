"""What the host and the containers on it use. Pure; formats are those of proc(5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_IDLE = (3, 4)  # columns of /proc/stat: idle, iowait
LONGEST_MS = 60_000  # between two looks at a container: over more, "now" would be a long time ago
_COUNTED = 8  # what is behind them, for guests, is in the first two already


@dataclass(frozen=True, slots=True)
class Ticks:
    """How long the processors of the host have worked, and could have. In ticks since the host was started."""

    busy: int
    total: int
    cores: int

    def share_since(self, before: Ticks) -> float:
        """Between 0 and 1: how busy they were since then."""
        passed = self.total - before.total
        return min(max((self.busy - before.busy) / passed, 0.0), 1.0) if passed > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Moment:
    """The host at one moment. Sizes in bytes."""

    at: int  # Unix ms
    cpu: float  # between 0 and 1: how busy it was since the moment before
    cores: int
    load: float  # processes that run or wait for a core or a disk, over the last minute
    memory: int
    memory_used: int
    swap: int
    swap_used: int

    @property
    def memory_share(self) -> float:
        return self.memory_used / self.memory if self.memory else 0.0


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system, by what lies on it. Bytes."""

    name: str
    size: int
    free: int  # for us, without what is reserved for root

    @property
    def used_share(self) -> float:
        return 1 - self.free / self.size if self.size else 0.0


@dataclass(frozen=True, slots=True)
class Process:
    """One that uses a graphics card. `pid` is that of the host's own numbering."""

    pid: int
    memory: int | None  # bytes; None where the driver does not tell


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card. None: the driver does not tell."""

    name: str
    memory: int | None  # bytes
    memory_used: int | None
    busy: int | None  # per cent of the last moments
    celsius: int | None
    processes: tuple[Process, ...]


@dataclass(frozen=True, slots=True)
class Graphics:
    """The cards of the host, or why none are told of."""

    cards: tuple[Card, ...] = ()
    driver: str = ""
    why: str = ""  # a sentence, when there are none


@dataclass(frozen=True, slots=True)
class Usage:
    """What one running container has used until now."""

    container: str  # its id
    name: str
    runtime_id: str  # "" for a part of the appliance
    part: str  # "" for a runtime
    image: str
    state: str
    cpu_ns: int  # processor time since it was started
    memory: int  # bytes now
    at: int  # steady ms


@dataclass(frozen=True, slots=True)
class Share:
    """What one running container uses now."""

    usage: Usage
    cores: float | None  # None until it was looked at twice


def ticks(stat: str) -> Ticks:
    """Read /proc/stat. Raises ValueError."""
    lines = stat.splitlines()
    columns = [int(each) for each in lines[0].split()[1 : 1 + _COUNTED]] if lines else []
    if len(columns) <= max(_IDLE):
        raise ValueError("/proc/stat does not begin with the processors' times")
    cores = sum(line.startswith("cpu") for line in lines) - 1
    total = sum(columns)
    return Ticks(total - sum(columns[each] for each in _IDLE), total, max(cores, 1))


def sizes(meminfo: str) -> dict[str, int]:
    """Read /proc/meminfo: bytes by name."""
    rows = (line.split() for line in meminfo.splitlines())
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) > 1 and row[1].isdigit()}


def shares(now: Sequence[Usage], before: Mapping[str, Usage]) -> list[Share]:
    """Who uses how much, the most memory first. `before`: by container; one that was started anew begins anew."""
    found = []
    for each in now:
        was = before.get(each.container)
        if was and each.at - was.at > LONGEST_MS:
            was = None
        passed = (each.at - was.at) * 1_000_000 if was else 0
        used = each.cpu_ns - was.cpu_ns if was else 0
        found.append(Share(each, used / passed if passed > 0 and used >= 0 else None))
    return sorted(found, key=lambda share: -share.usage.memory)

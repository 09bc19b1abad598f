"""Whether a container really is what `spec.create_body` asked for. Its label tells what was promised; this, what is.

Field names are those of the Docker Engine API, `GET /containers/{id}/json`. A difference that is none would replace
everybody's container for ever, so what a daemon fills in by itself is left to it, and nothing else is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from clawloops.runtimes.seen import Image, State

Settings = Mapping[str, Any]

OWN_LABELS = ("clawloops.", "traefik.")
"""Only our create body sets labels that begin so: with them a container passes for ours, or routes itself."""

LEFT_TO_THE_DAEMON = frozenset(
    {
        "Runtime",  # its default runtime, where we ask for none; only root of this host can register another
        "CgroupnsMode",  # its default cgroup namespace mode, which depends on the cgroup version
        "ShmSize",  # its default; counted against Memory anyway
        "Ulimits",  # its default ulimits
    }
)
"""Fields of HostConfig for which a daemon's own settings (daemon.json) are stored with the container."""

WITHOUT_EFFECT = frozenset({"OnBuild", "Shell", "MacAddress"})
"""Fields of Config that do nothing to a container that was made, or that newer Engines fill in while it runs."""

# What Engine 20.10 hides and protects; newer ones add to it, and only --privileged or systempaths=unconfined take away.
_MASKED = frozenset(
    f"/proc/{name}"
    for name in ("asound", "acpi", "kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi")
) | {"/sys/firmware"}
_READ_ONLY = frozenset(f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger"))


def differences(body: Settings, inspected: Settings, *, image: Image | None) -> tuple[str, ...]:
    """The names of the settings in which a container differs from `body`, sorted; () when it is exactly that.

    `image`: what the body's image is on this host now, None when it is not there (nothing is said about it then).
    A network of ours that it is not on is no difference: `Container.network_id` tells that, and it can be mended.
    """
    same_image = image is not None and inspected.get("Image") == image.id
    found = {
        *_host(body["HostConfig"], inspected["HostConfig"], paused=inspected["State"]["Status"] == State.PAUSED),
        *_config(body, inspected["Config"], image.config if image is not None and same_image else None),
        *_networks(body, inspected),
    }
    if not _mounted(body, inspected):
        found.add("Mounts")
    if image is not None and not same_image:
        found.add("Image")
    return tuple(sorted(found))


def _host(ours: Settings, theirs: Settings, *, paused: bool) -> Iterator[str]:
    for name in ours.keys() | theirs.keys():
        mine: Any = ours.get(name)
        real: Any = theirs.get(name)
        match name:
            case "Memory":
                good = _memory(mine, real, paused=paused) or _unlimited_host(theirs)
            case "MemorySwap":
                good = real in (mine, -1)  # -1: a host that does not count swap
            case "MemorySwappiness":
                good = real in (None, -1)
            case "Mounts":
                good = _equal_mounts(mine or (), real or ())
            case "LogConfig":  # a daemon adds its own log options
                good = mine["Type"] == real.get("Type") and mine["Config"].items() <= (real.get("Config") or {}).items()
            case "RestartPolicy":
                good = _fits(mine, real)
            case "CapDrop":
                good = _capabilities(mine) == _capabilities(real)
            case "MaskedPaths":
                good = set(real or ()) >= _MASKED
            case "ReadonlyPaths":
                good = set(real or ()) >= _READ_ONLY
            case _:
                good = mine == real if name in ours else name in LEFT_TO_THE_DAEMON or _empty(real)
        if not good:
            yield name


def _memory(promised: int, now: int, *, paused: bool) -> bool:
    return now == promised or (paused and 0 < now < promised)  # pushed out to swap


def _unlimited_host(theirs: Settings) -> bool:
    """Whether the Engine dropped the limit because the kernel has no memory cgroup; it then writes exactly this."""
    return theirs.get("Memory") == 0 and theirs.get("MemorySwap") == -1


def _config(body: Settings, theirs: Settings, inherited: Settings | None) -> Iterator[str]:
    ours = {name: value for name, value in body.items() if name not in ("HostConfig", "NetworkingConfig")}
    for name in ours.keys() | theirs.keys():
        mine, real = ours.get(name), theirs.get(name)
        match name:
            case "Labels":
                good = _labels(mine or {}, real or {}, inherited)
            case "Env":
                good = _environment(mine or (), real or (), inherited)
            case "Entrypoint" | "Cmd" if name not in ours:
                good = inherited is None or _listed(real) == _listed(inherited.get(name))
            case "WorkingDir" if name not in ours:
                good = inherited is None or (real or "/") == (inherited.get(name) or "/")
            case "ExposedPorts" | "Volumes" if name not in ours:
                good = inherited is None or set(real or ()) == set(inherited.get(name) or ())
            case _:
                good = name in WITHOUT_EFFECT or (_fits(mine, real) if name in ours else _empty(real))
        if not good:
            yield name


def _labels(ours: Settings, theirs: Settings, inherited: Settings | None) -> bool:
    if not ours.items() <= theirs.items():
        return False
    others = {name: value for name, value in theirs.items() if name not in ours}
    if any(name.lower().startswith(OWN_LABELS) for name in others):
        return False
    return inherited is None or others.items() <= (inherited.get("Labels") or {}).items()


def _environment(ours: Sequence[str], theirs: Sequence[str], inherited: Settings | None) -> bool:
    if inherited is None:
        return set(ours) <= set(theirs)
    set_by_us = {line.partition("=")[0] for line in ours}
    kept = [line for line in inherited.get("Env") or () if line.partition("=")[0] not in set_by_us]
    return sorted((*ours, *kept)) == sorted(theirs)


def _networks(body: Settings, inspected: Settings) -> Iterator[str]:
    ours: Settings = body["NetworkingConfig"]["EndpointsConfig"]
    usual = {inspected["Id"][:12], body["Hostname"], inspected["Name"].lstrip("/")}  # names that the Engine adds
    for name, endpoint in inspected["NetworkSettings"]["Networks"].items():
        asked = ours.get(name)
        if (
            asked is None
            or not _fits(asked["IPAMConfig"], endpoint.get("IPAMConfig"))
            or not set(endpoint.get("Aliases") or ()) <= usual
            or not (_empty(endpoint.get("Links")) and _empty(endpoint.get("DriverOpts")))
        ):
            yield "Networks"


def _mounted(body: Settings, inspected: Settings) -> bool:
    """Whether what is really mounted is what was asked for, and the image's own volumes; a tmpfs is not listed here."""
    real = {each["Destination"]: each for each in inspected.get("Mounts") or () if each["Type"] != "tmpfs"}
    for asked in body["HostConfig"]["Mounts"]:
        mount = real.pop(asked["Target"], None)
        if mount is None or mount["Type"] != asked["Type"] or bool(mount["RW"]) is bool(asked.get("ReadOnly")):
            return False
        if asked["Type"] == "volume" and mount.get("Name") != asked["Source"]:
            return False
    return set(real) <= set(inspected["Config"].get("Volumes") or ())


def _equal_mounts(ours: Iterable[Settings], theirs: Iterable[Settings]) -> bool:
    mine, real = (sorted(each, key=lambda mount: str(mount.get("Target"))) for each in (ours, theirs))
    return len(mine) == len(real) and all(map(_fits, mine, real))


def _fits(asked: Any, real: Any) -> bool:
    """Equal, or in a record: equal where something was asked, and empty where the Engine wrote a field of its own."""
    if isinstance(asked, Mapping) and isinstance(real, Mapping):
        return all(_fits(asked.get(name), real.get(name)) for name in asked.keys() | real.keys())
    if isinstance(real, Mapping) and asked is None:
        return all(_fits(None, each) for each in real.values())
    return bool(asked == real) or (_empty(asked) and _empty(real))


def _empty(value: Any) -> bool:
    return not value or (isinstance(value, list) and not any(value))


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _capabilities(names: Iterable[str] | None) -> set[str]:
    return {name.upper().removeprefix("CAP_") for name in names or ()}

"""What carries this install's labels or names in Docker without belonging to it: told to an admin, never touched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from clawloops.runtimes import names
from clawloops.runtimes.client import Engine
from clawloops.runtimes.parts import PARTS

Row = Mapping[str, Any]

NETWORKS = frozenset({"front", "llm", "llmout", "models", "modelsout", "db"})
COMPOSE = "com.docker.compose.project"  # on whatever Compose made: the appliance's own parts, under any name


class Kind(StrEnum):
    CONTAINER = "container"
    NETWORK = "network"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True)
class Stranger:
    kind: Kind
    name: str
    id: str  # a volume has only its name
    why: str  # a sentence for an administrator


@dataclass(frozen=True, slots=True)
class Known:
    """What the database knows."""

    runtimes: frozenset[str]
    volumes: frozenset[tuple[str, int]]  # runtime id and number


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows of the Engine's three lists: `GET /containers/json`, `/networks`, `/volumes`."""

    containers: Sequence[Row]
    networks: Sequence[Row]
    volumes: Sequence[Row]


async def find(engine: Engine, install_id: str, known: Callable[[], Awaitable[Known]]) -> list[Stranger]:
    """One pass over this host, three calls. `known` is asked after Docker, so that nothing new is taken for unknown."""
    listing = Listing(
        containers=await engine.call(lambda api: api.containers(all=True)),
        networks=await engine.call(lambda api: api.networks()),
        volumes=(await engine.call(lambda api: api.volumes()))["Volumes"] or [],
    )
    return judge(listing, install_id, await known())


def judge(listing: Listing, install_id: str, known: Known) -> list[Stranger]:
    """The strangers among them, containers first, each kind by name."""
    return [
        *sorted(_containers(listing.containers, install_id, known), key=lambda each: each.name),
        *sorted(_networks(listing.networks, install_id, known), key=lambda each: each.name),
        *sorted(_volumes(listing.volumes, install_id, known), key=lambda each: each.name),
    ]


def _containers(rows: Sequence[Row], install_id: str, known: Known) -> Iterator[Stranger]:
    for row in rows:
        labels = _labels(row)
        # A container that others link to has names of theirs as well; its own has one slash.
        own = [name[1:] for name in row.get("Names") or () if name.count("/") == 1]
        name = own[0] if own else row["Id"][:12]
        if not _claims(name, labels, install_id):
            continue
        if names.CARRIER in labels:
            why = _carrier(name, labels, install_id, known)
        elif names.RUNTIME in labels or names.runtime_of(name, install_id):
            why = _member(name, labels, install_id, known, wanted=names.container, what="container")
        else:
            why = _part(name, labels, install_id, PARTS)
        if why:
            yield Stranger(Kind.CONTAINER, name, row["Id"], why)


def _networks(rows: Sequence[Row], install_id: str, known: Known) -> Iterator[Stranger]:
    for row in rows:
        labels, name = _labels(row), row["Name"]
        if not _claims(name, labels, install_id):
            continue
        if names.RUNTIME in labels or names.runtime_of(name, install_id):
            why = _member(name, labels, install_id, known, wanted=names.network, what="network")
        else:
            why = _part(name, labels, install_id, NETWORKS)
        if why:
            yield Stranger(Kind.NETWORK, name, row["Id"], why)


def _volumes(rows: Sequence[Row], install_id: str, known: Known) -> Iterator[Stranger]:
    for row in rows:
        labels, name = _labels(row), row["Name"]
        if not _claims(name, labels, install_id) or COMPOSE in labels:
            continue
        which = names.volume_of(name, install_id)
        if which is None:
            why = "it carries this install's label, but no workspace has a volume of that name"
        elif not names.labels(install_id, which[0]).items() <= labels.items():
            why = _unlabelled(which[0], "volume")
        elif which not in known.volumes:
            why = f"it looks like a volume of workspace {which[0]}, but the database knows of none with that number"
        else:
            continue
        yield Stranger(Kind.VOLUME, name, name, why)


def _member(
    name: str,
    labels: Mapping[str, str],
    install_id: str,
    known: Known,
    *,
    wanted: Callable[[str, str], str],
    what: str,
) -> str:
    """Why a part of a workspace is a stranger; "" when it is none."""
    runtime_id = labels.get(names.RUNTIME) or names.runtime_of(name, install_id) or ""
    if runtime_id not in {names.CANARY, *known.runtimes}:
        return f"it looks like the {what} of workspace {runtime_id}, which is not in the database"
    if not names.labels(install_id, runtime_id).items() <= labels.items():
        return _unlabelled(runtime_id, what)
    if name != wanted(install_id, runtime_id):
        return f"it is a second {what} of workspace {runtime_id}: its labels say so, its name is not the one we give"
    return ""


def _carrier(name: str, labels: Mapping[str, str], install_id: str, known: Known) -> str:
    start = f"clawloops-{install_id}-c-"
    runtime_id = name.removeprefix(start).partition("-")[0]
    if labels.get(names.INSTALL) != install_id:
        return "it has the name of a carrier of this install, but not its labels"
    if not name.startswith(start) or runtime_id not in known.runtimes:
        return "it is labelled as a carrier for copies, but of no workspace in the database"
    return ""


def _part(name: str, labels: Mapping[str, str], install_id: str, parts: frozenset[str]) -> str:
    start = f"clawloops-{install_id}-"
    if labels.get(names.INSTALL) != install_id:
        return "its name begins like those of this install, but it does not carry its label"
    if COMPOSE in labels or (name.startswith(start) and name.removeprefix(start) in parts):
        return ""
    return "it carries this install's label, but is neither a part of the appliance nor of a workspace"


def _unlabelled(runtime_id: str, what: str) -> str:
    return (
        f"it has the name of the {what} of workspace {runtime_id}, but not its labels: "
        "the workspace cannot have its own until this one is removed or renamed"
    )


def _claims(name: str, labels: Mapping[str, str], install_id: str) -> bool:
    return labels.get(names.INSTALL) == install_id or name.startswith(f"clawloops-{install_id}-")


def _labels(row: Row) -> Mapping[str, str]:
    return row.get("Labels") or {}

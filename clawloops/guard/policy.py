"""What may be asked of the Docker Engine in the control plane's place. Pure: one request in, what to send on out.

A body is never passed on: it is read for what may differ in it (whose runtime, which image, which size), made anew by
the functions that the control plane itself uses, and has to be equal to that. So what those cannot say, nobody can say.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from clawloops.errors import EngineRefused
from clawloops.model.runtime import Runtime, Size, Want
from clawloops.runtimes import bodies, calls, names, parts
from clawloops.runtimes.drift import OWN_LABELS
from clawloops.runtimes.spec import Install, create_body, repository, swap_bytes

Json = Mapping[str, Any]

_OLDEST = (1, 41)  # of the Engine's API. One before 1.24 took a HostConfig with "start", past all that is checked here
_PLAIN = re.compile(r"[a-z0-9]{1,40}")  # an id
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")  # a container's, or its id
_SLUG = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_FIXED = {
    **dict.fromkeys(("v", "link", "follow"), ("false", "0")),
    "signal": ("sigterm", "sigkill"),
    "type": ("volume",),
    "stream": ("false", "0"),
    "one-shot": ("true", "1"),
    "t": (str(parts.STOPS_WITHIN_S),),
}
"""Parameters that may have only one of these values, whatever the case."""
_BLANK = Runtime("", "", "", Want.RUNNING, "", 0, None, 0, 0, "", 0, 0)
"""A row of which only what shows in a body is filled in."""
_FILTERS = frozenset({"label", "type", "event"})
_COUNT = re.compile(r"[0-9]{1,6}")


class Refused(EngineRefused):
    """The guard does not let it through. Its text tells what was wrong, and nothing of the host."""

    def __init__(self, why: str) -> None:
        # `why` may hold what the caller has written.
        plain = "".join(each if each.isprintable() else "?" for each in why[:300])
        super().__init__(f"the guard refuses this: {plain}", status=403)


def admit(method: str, path: str, query: Sequence[tuple[str, str]]) -> calls.Match:
    """The row of the table that a request is. Raises Refused for one that is none, or has other parameters.

    `path`: as it was sent, without the query; one with an escape in it is none of ours.
    """
    found = calls.match(method, path)
    if found is None:
        raise Refused(f"{method} of this path is not in clawloops/runtimes/calls.py")
    if found.version is not None and found.version < _OLDEST:
        raise Refused("this version of the API is older than 1.41")
    given = [name for name, _ in query]
    if len(set(given)) != len(given) or not set(given) <= set(found.call.query):
        raise Refused(f"{found.call.purpose}: other parameters than {', '.join(found.call.query) or 'none'}")
    for name, value in query:
        if name in _FIXED and value.lower() not in _FIXED[name]:
            raise Refused(f"{name}={value[:20]}")
        if name == "tail" and not (_COUNT.fullmatch(value) and int(value) <= calls.MOST_LOG_ENTRIES):
            raise Refused(f"tail={value[:20]}, and not a number up to {calls.MOST_LOG_ENTRIES}")
        if name == "filters" and not _keys(value) <= _FILTERS:
            raise Refused(f"other filters than by {', '.join(sorted(_FILTERS))}")
    if "tail" in found.call.query and not {"follow", "tail"} <= set(given):  # left out, the Engine sends all
        raise Refused(f"{found.call.purpose}: without follow and tail")
    return found


@dataclass(frozen=True, slots=True)
class Policy:
    """The bodies and the targets of one install."""

    install: Install
    pool: ipaddress.IPv4Network  # of members' networks

    def container(self, name: str, body: Json) -> dict[str, Any]:
        """The body to make a runtime's container, a carrier or the canary with. Raises Refused."""
        with _reading("a container"):
            if names.CARRIER in body["Labels"]:
                made, wanted = self._carrier(body)
            elif body["Labels"][names.RUNTIME] == names.CANARY:
                made, wanted = self._canary(body)
            else:
                made, wanted = self._runtime(body)
            _equal("the container", body, made)
        if not wanted.fullmatch(name):
            raise Refused("the container's name is not the one that we give")
        return made

    def network(self, body: Json) -> dict[str, Any]:
        """The body to make a member's network with. Raises Refused."""
        with _reading("a network"):
            subnet = self._subnet(body["IPAM"]["Config"][0]["Subnet"])
            made = bodies.network(self.install.install_id, _id(body["Labels"][names.RUNTIME]), subnet)
            _equal("the network", body, made)
        return made

    def volume(self, body: Json) -> dict[str, Any]:
        """The body to make a workspace volume with. Raises Refused."""
        with _reading("a volume"):
            runtime_id, number = self._of_volume(body["Name"])
            made = bodies.volume(self.install.install_id, runtime_id, number)
            _equal("the volume", body, made)
        return made

    def update(self, body: Json) -> dict[str, Any]:
        """The memory limits to set: what they were made with at most. Raises Refused."""
        with _reading("limits"):
            made = {"Memory": int(body["Memory"]), "MemorySwap": int(body["MemorySwap"])}
            _equal("the limits", body, made)
            most = max(self.install.limits_of(replace(_BLANK, size=size)).memory_mb for size in Size)
            if not 0 < made["Memory"] <= most << 20 or not 0 < made["MemorySwap"] <= swap_bytes(most):
                raise Refused("limits that no runtime has")
        return made

    def connect(self, body: Json, network: Json) -> tuple[str, dict[str, Any]]:
        """The container to put on a member's network, as it was named, and the endpoint it gets there. Raises Refused.

        `network`: as the Engine tells of it. Whoever is not the edge has to be that network's runtime.
        """
        with _reading("an endpoint"):
            who = str(body["Container"])
            if not _NAME.fullmatch(who):
                raise Refused("that is no container's name")
            address = names.addresses(self._subnet(network["IPAM"]["Config"][0]["Subnet"]))
            mine = address.edge if who == self.install.edge else address.runtime
            made = {"IPAMConfig": {"IPv4Address": mine}}
            _equal("the endpoint", body, {"Container": who, "EndpointConfig": made})
        return who, made

    def disconnect(self, body: Json) -> dict[str, Any]:
        """Anybody may be taken off a member's network. Raises Refused."""
        with _reading("an endpoint"):
            made = {"Container": str(body["Container"]), "Force": bool(body.get("Force", False))}
            _equal("the endpoint", body, made)
        return made

    def runtime_of(self, labels: Json | None) -> str:
        """Whose container or network this is, by its labels: the runtime's id; "" when it is no runtime's of ours."""
        found = labels or {}
        runtime_id = str(found.get(names.RUNTIME) or "")
        if not runtime_id or names.CARRIER in found:
            return ""
        return runtime_id if names.labels(self.install.install_id, runtime_id).items() <= found.items() else ""

    def is_carrier(self, labels: Json | None) -> bool:
        """Whether these are a carrier's labels."""
        mine = {names.MANAGED: "true", names.INSTALL: self.install.install_id, names.CARRIER: "true"}
        found = labels or {}
        return mine.items() <= found.items() and names.RUNTIME not in found

    def may_remove(self, image: str) -> bool:
        """Whether an image of OpenClaw may go: one with a tag that is not the install's own."""
        tag = image.rpartition("/")[2].partition(":")[2]
        mine = self.install.image
        mine = mine if ":" in mine.rpartition("/")[2] else f"{mine}:latest"
        return bool(tag) and "@" not in image and image != mine and self.install.may_run(image)

    def part_of(self, labels: Json | None) -> str:
        """Which part of the appliance a container with these labels is; "" for none."""
        return parts.part_of(labels, self.install.install_id)

    def is_volume(self, name: str) -> bool:
        """Whether a workspace volume of ours would have this name."""
        try:
            self._of_volume(name)
        except ValueError:
            return False
        return True

    def is_ours(self, name: str, labels: Json | None) -> bool:
        """Whether something in a list concerns this install: it carries our label, or has a name like ours."""
        mine = self.install.install_id
        return (labels or {}).get(names.INSTALL) == mine or name.lstrip("/").startswith(f"clawloops-{mine}-")

    def _runtime(self, body: Json) -> tuple[dict[str, Any], re.Pattern[str]]:
        labels = body["Labels"]
        runtime_id = _id(labels[names.RUNTIME])
        host = re.fullmatch(r"Host\(`([^`]*)`\)", labels[f"traefik.http.routers.cl-{runtime_id}.rule"])
        slug = (host[1] if host else "").removesuffix(self.install.host(""))
        (volume,) = [each["Source"] for each in body["HostConfig"]["Mounts"] if each["Type"] == "volume"]
        if not _SLUG.fullmatch(slug):
            raise Refused("the workspace's host is none of ours")
        base = replace(
            _BLANK,
            id=runtime_id,
            owner=_id(labels[names.OWNER]),
            slug=slug,
            subnet=self._subnet_of(body, runtime_id),
            generation=int(labels[names.GENERATION]),
            image=self._image(body),
            volume=self._of_volume(volume)[1],
        )
        sizes = [create_body(replace(base, size=size), self.install) for size in Size]
        asked = body["HostConfig"]["PidsLimit"]  # each size has its own
        made = next((each for each in sizes if each["HostConfig"]["PidsLimit"] == asked), sizes[0])
        return made, re.compile(re.escape(names.container(self.install.install_id, runtime_id)))

    def _canary(self, body: Json) -> tuple[dict[str, Any], re.Pattern[str]]:
        if body["Image"] != self.install.image:
            raise Refused("the canary is made of the install's own image")
        made = bodies.canary(self.install, self._subnet_of(body, names.CANARY))
        return made, re.compile(re.escape(names.container(self.install.install_id, names.CANARY)))

    def _carrier(self, body: Json) -> tuple[dict[str, Any], re.Pattern[str]]:
        (mount,) = body["HostConfig"]["Mounts"]
        runtime_id, number = self._of_volume(mount["Source"])
        mine = self.install.install_id
        made = bodies.carrier(mine, self._image(body), str(mount["Source"]), writes=not mount["ReadOnly"])
        return made, re.compile(re.escape(names.carrier(mine, runtime_id, number, "")) + r"[0-9a-z]{1,16}")

    def _image(self, body: Json) -> str:
        image = str(body["Image"])
        if not self.install.may_run(image):
            raise Refused(f"{image[:100]!r} is not an image of {repository(self.install.image)}")
        return image

    def _of_volume(self, name: object) -> tuple[str, int]:
        start = names.volume(self.install.install_id, "")
        found = re.fullmatch(rf"{re.escape(start)}([a-z0-9]{{1,40}})(?:-([1-9][0-9]{{0,8}}))?", str(name))
        if found is None:
            raise ValueError(name)
        return found[1], int(found[2] or 0)

    def _subnet_of(self, body: Json, runtime_id: str) -> str:
        """The /29 around the address that a container is to have on its network."""
        network = names.network(self.install.install_id, runtime_id)
        address = body["NetworkingConfig"]["EndpointsConfig"][network]["IPAMConfig"]["IPv4Address"]
        return self._subnet(ipaddress.IPv4Network(f"{ipaddress.IPv4Address(address)}/29", strict=False))

    def _subnet(self, subnet: object) -> str:
        given = ipaddress.IPv4Network(str(subnet))
        if given.prefixlen != 29 or not given.subnet_of(self.pool):
            raise Refused(f"{given} is not a /29 of {self.pool}")
        return str(given)


def _keys(filters: str) -> frozenset[str]:
    with _reading("filters"):
        return frozenset(json.loads(filters).keys())


def harmless(image: Json) -> None:
    """An image as the Engine tells of it. Raises Refused for one whose labels would route or pass for ours."""
    labels = (image.get("Config") or {}).get("Labels") or {}
    if own := sorted(name for name in labels if name.lower().startswith(OWN_LABELS)):
        raise Refused(f"the image carries the label {own[0]}")


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Around what looks into a body of a stranger: whatever is not where it should be is a refusal."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise Refused(f"the body is not {what} of ours") from error


def _id(given: object) -> str:
    if not isinstance(given, str) or not _PLAIN.fullmatch(given):
        raise ValueError(given)
    return given


def _equal(what: str, given: Json, made: Json) -> None:
    differ = sorted(_differences(given, made, ""))
    if differ:
        raise Refused(f"{what} differs from ours in {', '.join(differ[:5])}")


def _differences(given: Any, made: Any, at: str) -> set[str]:
    """Paths of what is not equal. null is how the SDK spells "not given"."""
    if isinstance(given, Mapping) and isinstance(made, Mapping):
        found: set[str] = set()
        for name in given.keys() | made.keys():
            found |= _differences(given.get(name), made.get(name), f"{at}.{name}" if at else str(name))
        return found
    if isinstance(given, list) and isinstance(made, list) and len(given) == len(made):
        return {each for pair in zip(given, made, strict=True) for each in _differences(*pair, at)}
    return set() if given == made and type(given) is type(made) else {at}

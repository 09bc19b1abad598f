"""What is seen of the host through the guard: in lists, what concerns this install; for Traefik, members' routes. Pure.

Field names are those of the Docker Engine API 1.41.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from clawloops.guard.policy import Policy
from clawloops.runtimes import names

Json = Mapping[str, Any]


def containers(rows: list[Json], policy: Policy) -> list[Json]:
    """`GET /containers/json`."""
    return [each for each in rows if any(_ours(policy, name, each) for name in each.get("Names") or [""])]


def networks(rows: list[Json], policy: Policy) -> list[Json]:
    """`GET /networks`."""
    return [each for each in rows if _ours(policy, each.get("Name", ""), each)]


def volumes(told: Json, policy: Policy) -> Json:
    """`GET /volumes`, and `GET /system/df` of which only the volumes are ever looked at."""
    return {"Volumes": [each for each in told.get("Volumes") or () if _ours(policy, each.get("Name", ""), each)]}


def network(row: Json) -> Json:
    """`GET /networks/{id}` of one that only has a name like ours: enough to tell whose it is."""
    return {name: row.get(name) for name in ("Id", "Name", "Labels", "Internal", "EnableIPv6", "Options", "IPAM")}


def info(told: Json, policy: Policy) -> Json:
    """`GET /info`: the names of the OCI runtimes, and nothing else of the host."""
    return {"Runtimes": {name: {} for name in told.get("Runtimes") or ()}}


def images(rows: list[Json], policy: Policy) -> list[Json]:
    """`GET /images/json`: those that a runtime may be made of, under the names by which one is asked for."""
    found: list[Json] = []
    for each in rows:
        tags = [tag for tag in each.get("RepoTags") or () if policy.install.may_run(tag)]
        if tags:
            found.append({"Id": each.get("Id"), "RepoTags": tags, "Size": each.get("Size", 0)})
    return found


def stats(told: Json) -> Json:
    """`GET /containers/{id}/stats`: processor time and memory. What it has sent or written is left out."""
    memory = told.get("memory_stats") or {}
    fine = memory.get("stats") or {}
    kept = {name: fine[name] for name in ("total_inactive_file", "inactive_file") if name in fine}
    usage = (told.get("cpu_stats") or {}).get("cpu_usage") or {}
    return {
        "cpu_stats": {"cpu_usage": {"total_usage": usage.get("total_usage", 0)}},
        "memory_stats": {"usage": memory["usage"], "stats": kept} if "usage" in memory else {},
    }


def event(line: bytes, policy: Policy) -> bytes:
    """One event as it is passed on; b"" for one that concerns somebody else, or that cannot be read."""
    try:
        told = json.loads(line)
        attributes = dict(told["Actor"]["Attributes"] or {})
        if told["Type"] not in ("container", "network") or not policy.is_ours(attributes.get("name", ""), attributes):
            return b""
        # Of "exec_create: psql -c …" the command is nobody's business.
        kept = {"Type": told["Type"], "Action": str(told["Action"]).partition(":")[0], "time": told.get("time")}
        kept["Actor"] = {"ID": told["Actor"]["ID"], "Attributes": attributes}
    except (ValueError, LookupError, TypeError, AttributeError):
        return b""
    return json.dumps(kept).encode() + b"\n"


def route_event(line: bytes, policy: Policy) -> bytes:
    """As `event`, without the labels: Traefik looks at all containers again whatever it is told."""
    kept = event(line, policy)
    if not kept:
        return b""
    told = json.loads(kept)
    told["Actor"]["Attributes"] = {"name": told["Actor"]["Attributes"].get("name", "")}
    return json.dumps(told).encode() + b"\n" if told["Type"] == "container" else b""


def routed(row: Json, policy: Policy) -> bool:
    """Whether a container, as a list tells of it, is a runtime that Traefik leads to."""
    labels = row.get("Labels") or {}
    return bool(policy.runtime_of(labels)) and labels.get("traefik.enable") == "true"


def route(row: Json) -> Json:
    """`GET /containers/json`, a row of it: what Traefik reads, and nothing else."""
    kept = {name: row.get(name) for name in ("Id", "Names", "State", "Status", "Created")}
    return {**kept, "Labels": _route_labels(row.get("Labels")), "NetworkSettings": row.get("NetworkSettings")}


def route_inspected(row: Json) -> Json:
    """`GET /containers/{id}/json`: what Traefik reads. No environment, no mounts, no paths of the host."""
    state = row.get("State") or {}
    return {
        **{name: row.get(name) for name in ("Id", "Name", "Created")},
        "State": {name: state.get(name) for name in ("Status", "Running", "Paused", "StartedAt")},
        "Config": {"Labels": _route_labels((row.get("Config") or {}).get("Labels"))},
        "HostConfig": {"NetworkMode": (row.get("HostConfig") or {}).get("NetworkMode")},
        "NetworkSettings": {"Networks": (row.get("NetworkSettings") or {}).get("Networks"), "Ports": {}},
    }


def _route_labels(labels: Json | None) -> Json:
    return {
        name: value for name, value in (labels or {}).items() if name.startswith("traefik.") or name == names.INSTALL
    }


def _ours(policy: Policy, name: str, row: Json) -> bool:
    return policy.is_ours(name, row.get("Labels"))

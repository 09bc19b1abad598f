"""How the box is and what it uses, for whoever oversees it: drawn on the server, and sent again every few seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from clawloops.model.gauge import Share
from clawloops.model.runtime import Runtime
from clawloops.orchestrator.gauges import EVERY_S, KEPT
from clawloops.web.context import ACCOUNTS, GAUGES, RUNTIMES, SESSION, UPKEEP, USER
from clawloops.web.live import stream
from clawloops.web.pages import render_part
from clawloops.web.upkeep import REMEDIES

MOST = 10  # lines: with 120 workspaces the rest is told of as one
_NAMES = {
    "edge": "Network of the appliance",
    "traefik": "Traefik",
    "clawloops": "Control plane",
    "guard": "Guard of the Docker socket",
    "litellm": "LiteLLM",
    "ollama": "Ollama",
    "vllm": "vLLM",
    "postgres": "PostgreSQL",
    "certificates": "Keeper of certificates",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One container: whose, and what it uses now."""

    name: str
    link: str  # to its workspace, "" for none
    image: str
    state: str
    memory: int  # bytes
    cores: float | None


async def live(request: web.Request) -> web.StreamResponse:
    async def part() -> tuple[object, str]:
        runtimes = await request.app[RUNTIMES].all(by=request[USER])
        text = render_part(request, "partials/gauges.html", **values(request, runtimes))
        return text, text

    return await stream(request, request[SESSION], "", part, every_s=EVERY_S)


def values(request: web.Request, runtimes: Sequence[Runtime]) -> dict[str, Any]:
    """What partials/gauges.html shows, of all `runtimes`. For a while now, containers and cards are looked at."""
    gauges = request.app[GAUGES]
    gauges.watch()
    history = list(gauges.history)
    lines = _lines(request, gauges.shares, runtimes)
    return {
        "checkup": request.app[UPKEEP].checkup(by=request[USER]),
        "remedies": REMEDIES,
        "people": {each.id: each.name for each in request.app[ACCOUNTS].members()},
        "now": history[-1] if history else None,
        "minutes": round(KEPT * EVERY_S / 60),
        "curves": {
            "cpu": _curve([each.cpu for each in history]),
            "memory": _curve([each.memory_share for each in history]),
        },
        "kept": KEPT,
        "disks": gauges.disks,
        "graphics": gauges.graphics,
        "using": lines[:MOST],
        "others": lines[MOST:],
        "trouble": gauges.trouble,
    }


def _lines(request: web.Request, shares: Sequence[Share], runtimes: Sequence[Runtime]) -> list[Line]:
    accounts = request.app[ACCOUNTS]
    owners = {each.id: accounts.get(each.owner).name for each in runtimes}
    return [_line(each, owners, is_linked=request[USER].role.administers) for each in shares]


def _line(share: Share, owners: dict[str, str], *, is_linked: bool) -> Line:
    usage = share.usage
    owner = owners.get(usage.runtime_id)
    if owner is not None:
        name, link = owner, f"/box/workspaces/{usage.runtime_id}" if is_linked else ""
    else:
        canary = "Self-test of the walls" if usage.runtime_id == "canary" else ""
        name, link = _NAMES.get(usage.part) or canary or usage.name, ""
    return Line(name, link, usage.image, usage.state, usage.memory, share.cores)


def _curve(shares: Sequence[float]) -> str:
    """Points of an SVG polyline, KEPT wide and 100 high; the newest is at the right edge."""
    start = KEPT - len(shares)
    return " ".join(f"{start + index},{100 - round(100 * each)}" for index, each in enumerate(shares))

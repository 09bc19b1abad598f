"""What a member lets their agent use beside the models: MCP servers, and a Telegram bot. For its member alone."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from clawloops.errors import BadInput
from clawloops.model.connection import Connection, Kind, lines_of
from clawloops.model.egress import Mode, named, place_of
from clawloops.web.context import CONNECTIONS, EGRESS, SENT, USER
from clawloops.web.pages import render

PAGE = "/workspace/connections"

KINDS: Mapping[Kind, str] = {
    Kind.HTTP: "An address (streamable HTTP)",
    Kind.SSE: "An address (SSE, as older servers have it)",
    Kind.COMMAND: "A command in the workspace (stdio)",
}


async def show(request: web.Request) -> web.Response:
    egress, user = request.app[EGRESS], request[USER]
    found = await request.app[CONNECTIONS].of(user)

    def barred(connection: Connection) -> str:
        """The place that has to be on the list of hosts and is not, as it is written there; "" where all is well."""
        if connection.reach is None or egress.allows(user.id, *connection.reach):
            return ""
        return named(*place_of(*connection.reach))

    return render(
        request,
        "connections.html",
        servers=[each for each in found if each.kind is not Kind.TELEGRAM],
        telegram=next((each for each in found if each.kind is Kind.TELEGRAM), None),
        kinds=KINDS,
        barred=barred,
        is_cut_off=egress.policy_of(user.id).mode is Mode.NONE,
    )


async def add(request: web.Request) -> web.Response:
    sent, kind = request[SENT], _kind(request)
    await request.app[CONNECTIONS].add_server(
        kind=kind,
        name=sent.get("name", ""),
        target=sent.get("target", ""),
        secrets=lines_of(kind, sent.get("secrets", "")),
        by=request[USER],
    )
    raise web.HTTPSeeOther(PAGE)


async def change(request: web.Request) -> web.Response:
    """Headers or variables that are left out stay, unless a box says that there shall be none."""
    sent, kind = request[SENT], _kind(request)
    written = sent.get("secrets", "")
    await request.app[CONNECTIONS].change_server(
        request.match_info["id"],
        kind=kind,
        name=sent.get("name", ""),
        target=sent.get("target", ""),
        secrets=lines_of(kind, written) if written.strip() or "forget" in sent else None,
        by=request[USER],
    )
    raise web.HTTPSeeOther(PAGE)


async def switch(request: web.Request) -> web.Response:
    on = request[SENT].get("on") == "yes"
    await request.app[CONNECTIONS].switch(request.match_info["id"], on=on, by=request[USER])
    raise web.HTTPSeeOther(PAGE)


async def remove(request: web.Request) -> web.Response:
    await request.app[CONNECTIONS].remove(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther(PAGE)


async def set_telegram(request: web.Request) -> web.Response:
    sent = request[SENT]
    await request.app[CONNECTIONS].set_telegram(
        token=sent.get("key", ""), people=sent.get("people", ""), by=request[USER]
    )
    raise web.HTTPSeeOther(f"{PAGE}#telegram")


def _kind(request: web.Request) -> Kind:
    for kind in KINDS:
        if request[SENT].get("kind") == kind:
            return kind
    raise BadInput("Choose one of the list.", field="kind")

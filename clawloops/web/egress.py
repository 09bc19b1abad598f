"""How far a workspace reaches on the internet: what it asks for, its list, and what it had to do with whom.

For its member, for admins, and without a workspace for what holds for everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from clawloops.control.egress import PAGE
from clawloops.errors import BadInput
from clawloops.model.egress import EVERYBODY, Mode, Outcome, Policy, Source, named, place_of
from clawloops.web.addresses import safe_path
from clawloops.web.context import ACCOUNTS, EGRESS, RUNTIMES, SENT, SESSION, USER
from clawloops.web.live import stream
from clawloops.web.pages import render, render_part

OFTEN_S = 0.5
MOST_PAGES = 10_000

MODES: Mapping[Mode, tuple[str, str]] = {
    Mode.NONE: ("Nothing", "Models still answer: they are on this box's own network."),
    Mode.LISTED: ("What is on the list", "Hosts that are allowed for this workspace or for everybody."),
    Mode.LEARNING: (
        "Anything public, and learn it",
        "Each new host is put on the list. Lock it when the workspace has done what it is there for.",
    ),
    Mode.OPEN: ("Anything public", "Except what is refused. Never your own network, nor this box."),
}
OUTCOMES: Mapping[Outcome, str] = {
    Outcome.PASSED: "",
    Outcome.FAILED: "did not answer",
    Outcome.UNLISTED: "not on the list",
    Outcome.DENIED: "refused",
    Outcome.OFF: "no internet access",
    Outcome.PRIVATE: "not a public address",
    Outcome.MAIL: "port 25 is closed",
    Outcome.DECOY: "carried a decoy key",
}
SOURCES: Mapping[Source, str] = {
    Source.BOX: "",
    Source.SET: "",
    Source.ANSWERED: "answered",
    Source.LEARNED: "learned",
}


async def show(request: web.Request) -> web.Response:
    user_id, base = await _whose(request)
    egress, by = request.app[EGRESS], request[USER]
    wanted = request.query.get("page", "0")
    page = int(wanted) if wanted.isdecimal() and len(wanted) < 6 else 0
    receipts = await egress.receipts_of(user_id, by=by, page=min(page, MOST_PAGES))
    policy = egress.policy_of(user_id)
    return render(
        request,
        "egress.html",
        **_questions(request, user_id, base),
        mine=user_id == by.id and base == "/workspace",
        owner=request.app[ACCOUNTS].get(user_id).name,
        policy=policy,
        has_own=egress.has_own_policy(user_id),
        usual=egress.usual,
        modes=MODES,
        rules=egress.rules_of(user_id),
        shared=egress.rules_of(EVERYBODY),
        sources=SOURCES,
        receipts=receipts[:PAGE],
        allowed=[egress.allows(user_id, each.host, each.port) for each in receipts],
        outcomes=OUTCOMES,
        page=page,
        has_more=len(receipts) > PAGE,
    )


async def live(request: web.Request) -> web.StreamResponse:
    """What the workspace asks for, again at each change."""
    user_id, base = await _whose(request)
    runtime = await request.app[RUNTIMES].of_owner(user_id)

    async def part() -> tuple[object, str]:
        values = _questions(request, user_id, base)
        state = [(each.host, each.port, each.waiting > 0) for each in values["questions"]]
        return state, render_part(request, "partials/questions.html", **values)

    return await stream(request, request[SESSION], runtime.id if runtime else "", part, every_s=OFTEN_S)


async def show_usual(request: web.Request) -> web.Response:
    """What holds for everybody."""
    egress = request.app[EGRESS]
    own = [each for each in request.app[ACCOUNTS].members() if egress.has_own_policy(each.id)]
    return render(
        request,
        "egress_usual.html",
        base="/box",
        policy=egress.usual,
        modes=MODES,
        rules=egress.rules_of(EVERYBODY),
        sources=SOURCES,
        own=[(each.name, MODES[egress.policy_of(each.id).mode][0]) for each in own],
    )


async def answer(request: web.Request) -> web.Response:
    user_id, base = await _whose(request)
    sent = request[SENT]
    port = sent.get("port", "")
    if not port.isdecimal() or len(port) > 5:
        raise BadInput("This question cannot be read. Reload the page.")
    allow = sent.get("answer") == "allow"
    await request.app[EGRESS].answer(user_id, sent.get("host", ""), int(port), allow=allow, by=request[USER])
    raise web.HTTPSeeOther(f"{base}/internet")


async def add(request: web.Request) -> web.Response:
    user_id, base = await _whose(request)
    sent = request[SENT]
    allows = sent.get("verdict", "allow") == "allow"
    await request.app[EGRESS].add(user_id, sent.get("place", ""), allows=allows, by=request[USER])
    raise web.HTTPSeeOther(safe_path(sent.get("back")) or f"{base}/internet#list")


async def remove(request: web.Request) -> web.Response:
    user_id, base = await _whose(request)
    await request.app[EGRESS].remove(user_id, request.match_info["rule"], by=request[USER])
    raise web.HTTPSeeOther(f"{base}/internet#list")


async def lock(request: web.Request) -> web.Response:
    user_id, base = await _whose(request)
    await request.app[EGRESS].lock(user_id, by=request[USER])
    raise web.HTTPSeeOther(f"{base}/internet")


async def set_policy(request: web.Request) -> web.Response:
    """For an admin. "usual" of a member: as it is for everybody."""
    user_id, base = await _whose(request)
    sent = request[SENT]
    policy = None
    if user_id == EVERYBODY or sent.get("mode") != "usual":
        try:
            policy = Policy(Mode(sent.get("mode", "")), "asks" in sent)
        except ValueError:
            raise BadInput("Choose one of the list.", field="mode") from None
    await request.app[EGRESS].set_policy(user_id, policy, by=request[USER])
    raise web.HTTPSeeOther(f"{base}/internet")


def _questions(request: web.Request, user_id: str, base: str) -> dict[str, Any]:
    """What `partials/questions.html` shows."""
    questions = request.app[EGRESS].questions(user_id)
    return {"questions": questions, "base": base, "placed": lambda host, port: named(*place_of(host, port))}


async def _whose(request: web.Request) -> tuple[str, str]:
    """The member whose workspace the address names, EVERYBODY, or oneself, and what the page's address begins with."""
    if request.path.startswith("/box/internet"):
        return EVERYBODY, "/box"
    if "id" not in request.match_info:
        return request[USER].id, "/workspace"
    runtime = await request.app[RUNTIMES].get(request.match_info["id"], by=request[USER])
    return runtime.owner, f"/box/workspaces/{runtime.id}"

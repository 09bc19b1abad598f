"""A member's tokens for the JSON API: made, shown once with a first call to try, and revoked."""

from __future__ import annotations

from aiohttp import web

from clawloops.clock import now_ms
from clawloops.errors import BadInput
from clawloops.model.token import TokenScope
from clawloops.web.context import SENT, SITE, TOKENS, USER
from clawloops.web.fields import number
from clawloops.web.pages import render

ENDS = ((7, "After 7 days"), (30, "After 30 days"), (90, "After 90 days"), (365, "After a year"))  # days
USUAL = 90

SCOPES = {
    TokenScope.ME_READ: "Read who you are, the models you may use, and what you have used",
    TokenScope.WORKSPACE_READ: "Read how your workspace stands, its history and snapshots, and where it connects",
    TokenScope.WORKSPACE_WRITE: "Start, stop and change your workspace, its snapshots and its list of hosts",
    TokenScope.KEYS_READ: "Read the list of your keys for other tools",
    TokenScope.KEYS_WRITE: "Make such keys, which end with the token, and revoke them",
    TokenScope.ADMIN_READ: "Read what admins see: everybody's workspaces, members, budgets, models, the audit",
    TokenScope.ADMIN_WRITE: "Change what admins may change without being asked who they are, shut members out, "
    "and remove backends",
}


async def show(request: web.Request, *, token: str = "") -> web.Response:
    user = request[USER]
    scopes = {scope: text for scope, text in SCOPES.items() if user.role.administers or not scope.is_for_admins}
    return render(
        request,
        "tokens.html",
        token_made=token,
        tokens=request.app[TOKENS].of(user),
        scopes=scopes,
        ends=ENDS,
        usual=USUAL,
        now=now_ms(),
        example=f"curl {request.app[SITE].origin}/api/v1/me -H 'Authorization: Bearer {token or 'YOUR_TOKEN'}'",
    )


async def make(request: web.Request) -> web.Response:
    """The token is in this answer and nowhere else: only its hash is kept."""
    sent = request[SENT]
    days = number(sent.get("days", str(USUAL)), "days", digits=3, refusal="Choose one of the list.")
    try:
        scopes = {TokenScope(each) for each in sent.getall("scopes", [])}
    except ValueError:
        raise BadInput("Choose from the list.", field="scopes") from None
    token = await request.app[TOKENS].make(name=sent.get("name", ""), scopes=scopes, days=days, by=request[USER])
    return await show(request, token=token)


async def revoke(request: web.Request) -> web.Response:
    await request.app[TOKENS].revoke(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/account/tokens")

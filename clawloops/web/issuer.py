"""The page on which an admin sets up the identity provider that people sign in with."""

from __future__ import annotations

from aiohttp import web
from multidict import MultiDict

from clawloops.errors import BadInput
from clawloops.model.account import Role
from clawloops.model.issuer import FirstLogin, Issuer, Rule
from clawloops.web.context import ACCOUNTS, ARRIVALS, GROUPS, ISSUERS, SENT, USER
from clawloops.web.pages import render

FIRST_LOGINS = {
    FirstLogin.REFUSED: "Nobody: they need an account here, and link it themselves",
    FirstLogin.INVITED: "Whoever has an invitation link",
    FirstLogin.MEMBERS: "Whoever is in a group or domain below; they become members",
}
_SPARE_ROWS = 3


async def show(request: web.Request) -> web.Response:
    issuers = request.app[ISSUERS]
    linked = await request.app[ARRIVALS].all()
    members = {each.id: each for each in request.app[ACCOUNTS].members()}
    issuer = issuers.current
    return render(
        request,
        "issuer.html",
        issuer=issuer,
        rules=_rows(request, issuer),
        roles=(Role.MEMBER, Role.ADMIN),
        first_logins=FIRST_LOGINS,
        redirect=issuers.redirect,
        groups=await request.app[GROUPS].all(),
        linked=[(members[each.user_id], each) for each in linked.values() if each.user_id in members],
        unlinked=[
            each
            for each in members.values()
            if each.id not in linked and each.disabled_at is None and each.role is not Role.OWNER
        ],
    )


async def save(request: web.Request) -> web.Response:
    sent = request[SENT]
    wanted = Issuer(
        url=sent.get("issuer", ""),
        client_id=sent.get("client_id", ""),
        label=sent.get("label", ""),
        scopes=sent.get("scopes", ""),
        ca=sent.get("ca", ""),
        first_login=_first_login(sent.get("first_login", "")),
        groups_claim=sent.get("groups_claim", ""),
        domains=tuple(sent.get("domains", "").replace(",", " ").split()),
        rules=tuple(each for each in _rules(sent) if each.claimed),
        is_only="is_only" in sent,
    )
    await request.app[ISSUERS].set(wanted, secret=sent.get("client_secret", "").strip(), by=request[USER])
    raise web.HTTPSeeOther("/members/sign-in?saved")


async def remove(request: web.Request) -> web.Response:
    await request.app[ISSUERS].remove(by=request[USER])
    raise web.HTTPSeeOther("/members/sign-in")


def _first_login(text: str) -> FirstLogin:
    try:
        return FirstLogin(text)
    except ValueError:
        raise BadInput("Choose one of the list.", field="first_login") from None


def _rules(sent: MultiDict[str]) -> list[Rule]:
    """One for each row of the form, the empty ones too. Raises BadInput."""
    try:
        return [
            Rule(" ".join(claimed.split()), Role(role), group or None)
            for claimed, role, group in zip(
                sent.getall("claimed", []), sent.getall("grants", []), sent.getall("group", []), strict=True
            )
        ]
    except ValueError:
        raise BadInput("Choose a role of the list.", field="claimed") from None


def _rows(request: web.Request, issuer: Issuer | None) -> list[Rule]:
    """Those of the form that was refused, or those that hold, and some to fill in."""
    spare = [Rule("", Role.MEMBER)] * _SPARE_ROWS
    if "claimed" in request.get(SENT, {}):
        try:
            return _rules(request[SENT])
        except BadInput:
            return spare
    return [*(issuer.rules if issuer else ()), *spare]

"""Who is here: invite, withdraw, roles, disable, enable, second factors, groups, and what each used this month."""

from __future__ import annotations

from aiohttp import web
from multidict import MultiDict

from clawloops.errors import BadInput
from clawloops.model.account import Guest, Role
from clawloops.model.factor import Requirement
from clawloops.model.usage import Total
from clawloops.web.context import (
    ACCOUNTS,
    FACTORS,
    GROUPS,
    INVITATIONS,
    ISSUERS,
    LEDGER,
    MAILING,
    REFUSED,
    RESETS,
    SENT,
    USER,
)
from clawloops.web.fields import number
from clawloops.web.languages import spoken
from clawloops.web.leaves import leaf_of
from clawloops.web.pages import render

REQUIREMENTS = {
    Requirement.OFF: "Nobody",
    Requirement.ADMINS: "Admins",
    Requirement.EVERYBODY: "Everybody",
}


NEW = "new"  # in the place of a group's id
ROLES = {
    Role.MEMBER: "Member",
    Role.ADMIN: "Admin",
    Role.VIEWER: "Viewer",
}


async def show(request: web.Request, *, link: str = "") -> web.Response:
    """`link`: of an invitation, which is shown this once."""
    totals = await request.app[LEDGER].totals()
    leaf = leaf_of(request, request.app[ACCOUNTS].members(), lambda each: f"{each.name} {each.login}")
    return render(
        request,
        "members.html",
        leaf=leaf,
        members=[(each, totals.get(each.id, Total())) for each in leaf.shown],
        groups=await request.app[GROUPS].all(),
        invitations=await request.app[INVITATIONS].open(),
        deliveries={each.invitation_id: each for each in await request.app[INVITATIONS].deliveries()},
        resets=await request.app[RESETS].open(),
        mailing=request.app[MAILING],
        roles=ROLES,
        factors=request.app[FACTORS],
        requirements=REQUIREMENTS,
        link=link,
        issuer=request.app[ISSUERS].current,
    )


async def show_one(request: web.Request, *, link: str = "") -> web.Response:
    """`link`: for a new password, which is shown this once."""
    member = request.app[ACCOUNTS].get(request.match_info["id"])
    return render(
        request,
        "member.html",
        member=member,
        usage=await request.app[LEDGER].total_of(member.id),
        groups=[each for each in await request.app[GROUPS].all() if member.id in each.members],
        reset=(await request.app[RESETS].open()).get(member.id),
        roles=ROLES,
        factors=request.app[FACTORS],
        link=link,
        issuer=request.app[ISSUERS].current,
    )


async def show_group(request: web.Request) -> web.Response:
    """One, or the form for a new one; what was chosen in a form that was refused is kept."""
    wanted = request.match_info.get("id", NEW)
    group = await request.app[GROUPS].get(wanted) if wanted != NEW else None
    kept = group.members if group else frozenset()
    chosen = frozenset(request[SENT].getall("members", [])) if REFUSED in request else kept
    return render(request, "group.html", group=group, members=request.app[ACCOUNTS].members(), chosen=chosen)


async def invite(request: web.Request) -> web.Response:
    """The link is in this answer and nowhere else: only its hash is kept. One that is sent by e-mail is in none."""
    sent, invitations, mailing = request[SENT], request.app[INVITATIONS], request.app[MAILING]
    email = sent.get("email", "").strip()
    guest = Guest(sent.get("note", ""), _role(sent), sent.get("group") or None, email)
    if not email:
        (link,) = await invitations.invite_all([guest], by=request[USER])
        return await show(request, link=link)
    mailing.ready()
    await invitations.invite_by_mail([guest], by=request[USER], language=spoken().code)
    mailing.wake()
    raise web.HTTPSeeOther("/members#invite-title")


async def send_again(request: web.Request) -> web.Response:
    request.app[MAILING].ready()
    await request.app[INVITATIONS].mail_again(request.match_info["id"], by=request[USER])
    request.app[MAILING].wake()
    raise web.HTTPSeeOther("/members#invite-title")


async def set_role(request: web.Request) -> web.Response:
    await request.app[ACCOUNTS].set_role(request.match_info["id"], _role(request[SENT]), by=request[USER])
    raise _back(request)


async def hand_over(request: web.Request) -> web.Response:
    await request.app[ACCOUNTS].hand_over(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/members#people-title")


async def withdraw(request: web.Request) -> web.Response:
    await request.app[INVITATIONS].withdraw(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/members")


async def disable(request: web.Request) -> web.Response:
    await request.app[ACCOUNTS].disable(request.match_info["id"], by=request[USER])
    raise _back(request)


async def enable(request: web.Request) -> web.Response:
    await request.app[ACCOUNTS].enable(request.match_info["id"], by=request[USER])
    raise _back(request)


async def require_factor(request: web.Request) -> web.Response:
    try:
        requirement = Requirement(request[SENT].get("require", ""))
    except ValueError:
        raise BadInput("Choose one of the list.", field="require") from None
    await request.app[FACTORS].require(requirement, by=request[USER])
    raise web.HTTPSeeOther("/members")


async def remove_factors(request: web.Request) -> web.Response:
    """For somebody who lost theirs."""
    member = request.app[ACCOUNTS].get(request.match_info["id"])
    await request.app[FACTORS].clear(member, by=request[USER])
    raise _back(request)


async def make_group(request: web.Request) -> web.Response:
    sent = request[SENT]
    await request.app[GROUPS].make(
        sent.get("group", ""), sent.getall("members", []), weight=_weight(sent), by=request[USER]
    )
    raise web.HTTPSeeOther("/members#groups-title")


async def change_group(request: web.Request) -> web.Response:
    sent = request[SENT]
    await request.app[GROUPS].change(
        request.match_info["id"],
        sent.get("group", ""),
        sent.getall("members", []),
        weight=_weight(sent),
        by=request[USER],
    )
    raise web.HTTPSeeOther("/members#groups-title")


def _back(request: web.Request) -> web.HTTPSeeOther:
    """To the page of the member whom it was about."""
    return web.HTTPSeeOther(f"/members/{request.match_info['id']}")


def _role(sent: MultiDict[str]) -> Role:
    try:
        return Role(sent.get("role", ""))
    except ValueError:
        raise BadInput("Choose a role.", field="role") from None


def _weight(sent: MultiDict[str]) -> int:
    return number(sent.get("weight", "1").strip(), "weight", digits=3, refusal="A share is a number.")


async def remove_group(request: web.Request) -> web.Response:
    await request.app[GROUPS].remove(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/members#groups-title")

"""Members, their groups, and invitations that are open. Who is let in is decided on the dashboard alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta

from clawloops.control.groups import MOST_WEIGHT
from clawloops.model.account import Group as KeptGroup
from clawloops.model.account import Invitation as KeptInvitation
from clawloops.model.account import PasswordReset, Role, User
from clawloops.model.issuer import FirstLogin
from clawloops.model.mail import Delivery, DeliveryState, Security
from clawloops.model.usage import Total
from clawloops.web.api.me import Used, used
from clawloops.web.api.operation import Call, fields_named
from clawloops.web.api.paging import AN_INT, LAST, Listed, Paged, key_in, listed, page_of
from clawloops.web.api.shapes import Given, Id, Instant, Name, Shown, at
from clawloops.web.context import ACCOUNTS, ARRIVALS, FACTORS, GROUPS, INVITATIONS, ISSUERS, LEDGER, MAILING, RESETS


class Member(Shown, frozen=True):
    id: str
    login: str
    name: str
    role: Role
    is_disabled: bool
    has_second_factor: bool
    joined_at: Instant
    reset_ends_at: Instant | None
    """Until when a link to set a new password can be used; null without one."""
    used_this_month: Used


class InvitationMail(Shown, frozen=True):
    """How far its e-mail is."""

    recipient: str
    state: DeliveryState
    tries: int
    said: str
    """What came of the last try, in the mail server's words where it had any; empty before the first."""
    at: Instant
    """Of one that waits: its next try; of the others, when it was sent or given up."""


class Invitation(Shown, frozen=True):
    """A link that can still be used. The link itself is known to nobody but who was given it."""

    id: str
    role: Role
    note: str
    group_id: str | None
    """The group that whoever comes of it is in from the start."""
    invited_by: str | None
    made_at: Instant
    ends_at: Instant
    mail: InvitationMail | None
    """null: it is not sent by e-mail."""


class Mail(Shown, frozen=True):
    """The mail server that invitations are sent through. Its password is shown to nobody."""

    host: str
    port: int
    security: Security
    user: str
    sender: str


class Group(Shown, frozen=True):
    id: str
    name: str
    members: list[str]
    weight: int
    """Share of a backend's time that each of them has, against 1 of others."""
    made_at: Instant


class Meaning(Shown, frozen=True):
    """What being in a group of the identity provider means here."""

    claimed: str
    role: Role
    group_id: str | None


class IdentityProvider(Shown, frozen=True):
    """Whom people sign in with. The client secret is told to nobody."""

    issuer: str
    client_id: str
    label: str
    scopes: list[str]
    has_own_authority: bool
    redirect: str
    first_login: FirstLogin
    groups_claim: str
    groups: list[Meaning]
    domains: list[str]
    is_only: bool
    """Passwords and passkeys of this box sign in nobody but the owner."""
    linked_members: list[str]


class GroupWanted(Given, frozen=True):
    name: Name
    members: Annotated[tuple[Id, ...], Meta(max_length=1000)] = ()
    weight: Annotated[int, Meta(ge=1, le=MOST_WEIGHT)] = 1


async def list_members(call: Call, query: Paged) -> Listed[Member]:
    """Oldest first."""
    totals, resets = await call.app[LEDGER].totals(), await call.app[RESETS].open()
    return page_of(
        call.app[ACCOUNTS].members(),
        query,
        key=lambda each: (each.created_at, each.id),
        show=lambda each: _member(call, each, totals.get(each.id, Total()), resets),
    )


async def show_member(call: Call, id: Id) -> Member:
    member = call.app[ACCOUNTS].get(id)
    return _member(call, member, await call.app[LEDGER].total_of(member.id), await call.app[RESETS].open())


async def disable(call: Call, id: Id) -> Member:
    """Now: sessions, sockets, keys and tokens end, the workspace stops. Who lets them in again does so in a browser."""
    await call.app[ACCOUNTS].disable(id, by=call.user)
    return await show_member(call, id)


async def list_invitations(call: Call, query: Paged) -> Listed[Invitation]:
    """Newest first."""
    before = key_in(query, tuple[AN_INT, Id], start=(LAST, ""))
    found = await call.app[INVITATIONS].page(before, query.limit + 1, by=call.user)
    mails = {each.invitation_id: each for each in await call.app[INVITATIONS].deliveries()}
    return listed(
        found,
        query,
        key=lambda each: (each.created_at, each.id),
        show=lambda each: _invitation(each, mails.get(each.id)),
    )


async def send_again(call: Call, id: Id) -> InvitationMail:
    """To the address that it was made for, and no other."""
    call.app[MAILING].ready()
    queued = await call.app[INVITATIONS].mail_again(id, by=call.user)
    call.app[MAILING].wake()
    return _mail(queued)


async def withdraw_reset(call: Call, id: Id) -> None:
    """Nobody sets a new password with it any more."""
    await call.app[RESETS].withdraw(id, by=call.user)


async def show_mail(call: Call) -> Mail | None:
    """null: there is none. It is set up on the dashboard alone, for whoever does that reads every link."""
    server = call.app[MAILING].server
    if server is None:
        return None
    return Mail(host=server.host, port=server.port, security=server.security, user=server.user, sender=server.sender)


async def forget_mail(call: Call) -> None:
    """With its password. Invitations that wait to be sent go on waiting."""
    await call.app[MAILING].remove_server(by=call.user)


async def withdraw(call: Call, id: Id) -> None:
    """Its link is worth nothing from now on."""
    await call.app[INVITATIONS].withdraw(id, by=call.user)


async def list_groups(call: Call, query: Paged) -> Listed[Group]:
    """Oldest first."""
    return page_of(await call.app[GROUPS].all(), query, key=lambda each: (each.created_at, each.id), show=_group)


async def show_group(call: Call, id: Id) -> Group:
    return _group(await call.app[GROUPS].get(id))


async def make_group(call: Call, body: GroupWanted) -> Group:
    with fields_named(group="name"):
        made = await call.app[GROUPS].make(body.name, body.members, weight=body.weight, by=call.user)
    return _group(made)


async def change_group(call: Call, id: Id, body: GroupWanted) -> Group:
    """It is what is sent, whole."""
    with fields_named(group="name"):
        await call.app[GROUPS].change(id, body.name, body.members, weight=body.weight, by=call.user)
    return _group(await call.app[GROUPS].get(id))


async def remove_group(call: Call, id: Id) -> None:
    """Its grants, its keys of backends and its budgets go with it."""
    await call.app[GROUPS].remove(id, by=call.user)


async def show_issuer(call: Call) -> IdentityProvider | None:
    """null: there is none. It is set up in a browser."""
    issuer = call.app[ISSUERS].current
    if issuer is None:
        return None
    return IdentityProvider(
        issuer=issuer.url,
        client_id=issuer.client_id,
        label=issuer.label,
        scopes=issuer.scopes.split(),
        has_own_authority=bool(issuer.ca),
        redirect=call.app[ISSUERS].redirect,
        first_login=issuer.first_login,
        groups_claim=issuer.groups_claim,
        groups=[Meaning(claimed=each.claimed, role=each.role, group_id=each.group_id) for each in issuer.rules],
        domains=list(issuer.domains),
        is_only=issuer.is_only,
        linked_members=sorted(await call.app[ARRIVALS].all()),
    )


def _member(call: Call, user: User, total: Total, resets: Mapping[str, PasswordReset]) -> Member:
    reset = resets.get(user.id)
    return Member(
        id=user.id,
        login=user.login,
        name=user.name,
        role=user.role,
        is_disabled=user.disabled_at is not None,
        has_second_factor=call.app[FACTORS].is_held_by(user.id),
        joined_at=at(user.created_at),
        reset_ends_at=at(reset.expires_at) if reset else None,
        used_this_month=used(total),
    )


def _mail(each: Delivery) -> InvitationMail:
    return InvitationMail(
        recipient=each.recipient, state=each.state, tries=each.tries, said=each.said, at=at(each.next_at)
    )


def _invitation(each: KeptInvitation, mail: Delivery | None) -> Invitation:
    return Invitation(
        id=each.id,
        role=each.role,
        note=each.note,
        group_id=each.group_id,
        invited_by=each.invited_by,
        made_at=at(each.created_at),
        ends_at=at(each.expires_at),
        mail=_mail(mail) if mail else None,
    )


def _group(group: KeptGroup) -> Group:
    return Group(
        id=group.id,
        name=group.name,
        members=sorted(group.members),
        weight=group.weight,
        made_at=at(group.created_at),
    )

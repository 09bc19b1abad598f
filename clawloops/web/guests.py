"""Inviting many at once, from a list as spreadsheets write it."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from aiohttp import web

from clawloops.control import guest_list
from clawloops.control.invitations import MOST_NOTE
from clawloops.model.account import Guest
from clawloops.web.context import GROUPS, INVITATIONS, MAILING, SENT, USER
from clawloops.web.languages import spoken
from clawloops.web.pages import render
from clawloops.web.sheet import text_of

_COLUMNS = ("name", "email", "group", "role", "link")


async def show(request: web.Request) -> web.Response:
    return await _page(request)


async def invite(request: web.Request) -> web.Response:
    """All of them or nobody. The links are in this answer and nowhere else, unless they are sent by e-mail."""
    sent, invitations, mailing = request[SENT], request.app[INVITATIONS], request.app[MAILING]
    by_mail = "by_mail" in sent
    if by_mail:
        mailing.ready()
    groups = {each.name: each.id for each in await request.app[GROUPS].all()}
    invited = {each.recipient.lower() for each in await invitations.deliveries()}
    guests = guest_list.read(sent.get("list", ""), groups=groups, invited=invited, by_mail=by_mail)
    if by_mail:
        await invitations.invite_by_mail(guests, by=request[USER], language=spoken().code)
        mailing.wake()
        return await _page(request, mailed=len(guests))
    links = await invitations.invite_all([_noted(each) for each in guests], by=request[USER])
    named = {each: name for name, each in groups.items()}
    rows = [
        (each.note, each.email, named.get(each.group_id or "", ""), each.role.value, link)
        for each, link in zip(guests, links, strict=True)
    ]
    return await _page(request, rows=rows)


async def _page(request: web.Request, *, rows: Sequence[tuple[str, ...]] = (), mailed: int = 0) -> web.Response:
    sheet = "data:text/csv;charset=utf-8," + quote(text_of(_COLUMNS, rows)) if rows else ""
    return render(
        request,
        "guests.html",
        rows=rows,
        sheet=sheet,
        mailed=mailed,
        groups=await request.app[GROUPS].all(),
        mailing=request.app[MAILING],
        most=guest_list.MOST,
    )


def _noted(guest: Guest) -> Guest:
    """With the e-mail address in the note, as nothing else keeps it."""
    note = f"{guest.note}, {guest.email}" if guest.email else guest.note
    return Guest(note if len(note) <= MOST_NOTE else guest.note, guest.role, guest.group_id)

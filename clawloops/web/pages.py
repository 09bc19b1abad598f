"""Jinja: one renderer for whole pages and for the partials that SSE sends alone."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web
from multidict import MultiDict, MultiMapping

from clawloops.clock import now_ms
from clawloops.errors import BadInput, ClawLoopsError
from clawloops.model.account import User
from clawloops.web import cookies
from clawloops.web.addresses import OWN
from clawloops.web.context import COOKIES, DECOYS, FIRST_RUN, HOST, NONCE, REFUSED, SENT, SLUG, USER, Site
from clawloops.web.fields import plain
from clawloops.web.files import Files
from clawloops.web.notices import Notice, notices_for
from clawloops.web.states import sentence

SECRET_FIELDS = frozenset(
    {"password", "current", "key", "code", "secret", "secrets", "client_secret", "csrf"}
    | {"proof_password", "proof_code", "proof_answer"}
)
"""Never written back into a page, whatever was wrong with the form."""


class Form:
    """What was sent last and why it was refused, for the page that shows the form again. Empty on a first visit."""

    def __init__(self, sent: MultiMapping[str], refused: ClawLoopsError | None) -> None:
        self._sent = sent
        self.refused = refused

    def value(self, name: str, default: str = "") -> str:
        return default if name in SECRET_FIELDS else self._sent.get(name, default)

    def dropped(self, name: str) -> bool:
        """Whether something was sent in this field that is not written back into the page."""
        return name in SECRET_FIELDS and bool(self._sent.get(name))

    def nth(self, name: str, index: int) -> str:
        """What was sent in one of several fields of the same name."""
        sent = self._sent.getall(name, [])
        return sent[index] if index < len(sent) else ""

    def holds(self, name: str, value: str) -> bool:
        """Whether a box of this name and value was ticked."""
        return value in self._sent.getall(name, [])

    def error(self, name: str) -> str:
        """The message that belongs beside this field, or ""."""
        own = isinstance(self.refused, BadInput) and self.refused.field == name
        return str(self.refused) if own else ""

    def is_for(self, name: str, value: str) -> bool:
        """Whether the refused form is the one whose hidden field `name` holds `value` (a page with several forms)."""
        return self.refused is not None and self._sent.get(name) == value

    def general(self, *fields: str) -> str:
        """The message, when it belongs to none of `fields`."""
        if self.refused is None or (isinstance(self.refused, BadInput) and self.refused.field in fields):
            return ""
        return str(self.refused)


class Pages:
    """All templates, with what the layout of each needs."""

    def __init__(self, site: Site, files: Files, folder: Path) -> None:
        self.site = site
        self._files = files
        self._templates = load_templates(folder)

    def text(
        self,
        template: str,
        *,
        nonce: str,
        on_workspace: bool,
        path: str = "/",
        user: User | None = None,
        csrf: str = "",
        form: Form | None = None,
        alarm: str = "",
        notices: Sequence[Notice] = (),
        is_first_run: bool = False,
        **values: Any,
    ) -> str:
        """The text of a page or of a partial."""
        prefix = OWN if on_workspace else "/"
        return self._templates.get_template(template).render(
            site=self.site,
            user=user,
            path=path,
            nonce=nonce,
            csrf=csrf,
            form=form or Form(MultiDict(), None),
            asset=lambda name: self._files.address(name, prefix=prefix),
            home=self.site.origin + "/" if on_workspace else "/",
            on_workspace=on_workspace,
            alarm=alarm,
            notices=notices,
            is_first_run=is_first_run,
            **values,
        )


PAGES: web.AppKey[Pages] = web.AppKey("pages", Pages)


def load_templates(folder: Path) -> jinja2.Environment:
    """Autoescape, and a missing value is an error instead of an empty place."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        duration=duration,
        day=day,
        within=within,
        moment=moment,
        iso=iso,
        sentence=sentence,
        took=took,
        size=size,
        dollars=dollars,
        plain=plain,
        energy=energy,
    )
    return environment


def render(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """A whole page. Gives a browser without a session the cookie that its forms are tied to."""
    sent = request.get(COOKIES, {})
    fresh = None
    if USER not in request and cookies.FORM not in sent and request.get(SLUG) is None:
        fresh = secrets.token_urlsafe(32)
    text = render_part(request, template, form_cookie=fresh, **values)
    reply = web.Response(text=text, status=status, content_type="text/html")
    if fresh is not None:
        reply.headers.add("Set-Cookie", cookies.give(cookies.FORM, fresh, max_age_s=cookies.SESSION_MAX_AGE_S))
    return reply


def render_part(request: web.Request, template: str, *, form_cookie: str | None = None, **values: Any) -> str:
    """The text of a page or of a partial, with everything the layout needs."""
    on_workspace = request.get(SLUG) is not None
    sent, user = request.get(COOKIES, {}), request.get(USER)
    known = sent.get(cookies.SESSION) if USER in request else None
    tied_to = known or form_cookie or sent.get(cookies.FORM)
    return request.app[PAGES].text(
        template,
        nonce=request.get(NONCE, ""),
        on_workspace=on_workspace,
        path=request.path,
        user=user,
        csrf=cookies.csrf_of(tied_to) if tied_to and not on_workspace else "",
        form=Form(request.get(SENT, MultiDict()), request.get(REFUSED)),
        alarm=_alarm(request),
        notices=notices_for(request.app, user) if user is not None and not on_workspace else (),
        is_first_run=_is_admins(request) and request.app[FIRST_RUN].is_open,
        **values,
    )


def _alarm(request: web.Request) -> str:
    """What an admin has to know whatever the page is."""
    alarms = (request.app[HOST].walls.alarm, request.app[DECOYS].alarm) if _is_admins(request) else ()
    return " ".join(filter(None, alarms))


def _is_admins(request: web.Request) -> bool:
    user = request.get(USER)
    return user is not None and user.role.administers and request.get(SLUG) is None


def number(value: int) -> str:
    """1234567 -> 1,234,567"""
    return f"{value:,}"


def dollars(cost: int) -> str:
    """µUSD as a person reads them: $12.30, and what is less than a cent to its first figures: $0.0042"""
    amount = cost / 1_000_000
    return f"${amount:,.2f}" if amount >= 0.01 or not cost else f"${amount:.2g}"


def energy(mwh: int) -> str:
    """Thousandths of a watt-hour: 0.42 Wh, 12 Wh, 1.3 kWh"""
    if mwh >= 1_000_000:
        return f"{mwh / 1_000_000:.1f} kWh"
    return f"{mwh / 1000:.2f} Wh" if mwh < 10_000 else f"{mwh / 1000:.0f} Wh"


def duration(ms: int) -> str:
    """A length of time as a person reads it: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    seconds = max(0, ms) / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600:,} h {whole % 3600 // 60} min"


def took(ms: int) -> str:
    """As `duration`, to the millisecond where that is all: 19 ms."""
    return f"{ms} ms" if 0 <= ms < 100 else duration(ms)


def size(count: int) -> str:
    """Bytes as a person reads them: 12 KiB, 3.4 MiB, 1.2 GiB."""
    for unit, power in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if count >= 1 << power:
            value = count / (1 << power)
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count} bytes"


def day(instant: int) -> str:
    """A Unix ms instant as a date (UTC): 29 Nov 2025"""
    moment = datetime.fromtimestamp(instant / 1000, UTC)
    return f"{moment.day} {moment:%b %Y}"


def moment(instant: int) -> str:
    """A Unix ms instant to the minute (UTC): 29 Nov, 14:05 UTC"""
    at = datetime.fromtimestamp(instant / 1000, UTC)
    return f"{at.day} {at:%b, %H:%M} UTC"


def iso(instant: int) -> str:
    """A Unix ms instant as the `datetime` attribute of HTML wants it: 2025-11-29T14:05:07Z"""
    return f"{datetime.fromtimestamp(instant / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def within(instant: int) -> str:
    """How long until a Unix ms instant: in 7 days, in 3 hours, in 5 minutes."""
    minutes = max(0, instant - now_ms() + 30_000) // 60_000
    for size, word in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = round(minutes / size)
            return f"in {count} {word}{'' if count == 1 else 's'}"
    return "in less than a minute"

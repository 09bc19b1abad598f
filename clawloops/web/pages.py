"""Jinja: one renderer for whole pages and for the partials that SSE sends alone."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from aiohttp import web
from multidict import MultiDict, MultiMapping

from clawloops.errors import BadInput, ClawLoopsError
from clawloops.model.account import User
from clawloops.web import cookies
from clawloops.web.addresses import OWN
from clawloops.web.context import COOKIES, DECOYS, FIRST_RUN, HOST, NONCE, REFUSED, SENT, SLUG, USER, Site
from clawloops.web.files import Files
from clawloops.web.languages import NAMES, spoken
from clawloops.web.notices import Notice, notices_for
from clawloops.web.templates import load_templates

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
        self._load = lru_cache(None)(partial(load_templates, folder))  # those of one language

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
        is_reached: bool = False,
        **values: Any,
    ) -> str:
        """The text of a page or of a partial."""
        prefix, language = OWN if on_workspace else "/", spoken()
        return (
            self._load(language)
            .get_template(template)
            .render(
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
                language=language.code,
                languages=NAMES,
                is_reached=is_reached,
                **values,
            )
        )


PAGES: web.AppKey[Pages] = web.AppKey("pages", Pages)


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
        is_reached=request.method == "GET",
        **values,
    )


def _alarm(request: web.Request) -> str:
    """What an admin has to know whatever the page is."""
    alarms = (request.app[HOST].walls.alarm, request.app[DECOYS].alarm) if _is_admins(request) else ()
    return " ".join(filter(None, alarms))


def _is_admins(request: web.Request) -> bool:
    user = request.get(USER)
    return user is not None and user.role.administers and request.get(SLUG) is None

"""ForwardAuth for Traefik: one answer per HTTP request to a running workspace. Memory only; any doubt denies.

Traefik calls `GET /forward-auth/<runtime id>` with the browser's headers and `X-Forwarded-{Method,Proto,Host,Uri}`. On
2xx it replaces `X-Clawloops-User`, `X-OpenClaw-Scopes`, `Authorization` and `Cookie` of the request by those of the
answer; anything else goes back to the browser as it is.
"""

from __future__ import annotations

import logging
import re
import secrets
from functools import lru_cache
from typing import NamedTuple

from clawloops import log as logs
from clawloops.errors import BadInput, Forbidden, NotFound, Unavailable
from clawloops.web import cookies, languages
from clawloops.web.addresses import is_closed, is_navigation
from clawloops.web.errors import PAGE, PROBLEM, page_of, problem_of, status_of, wait_of
from clawloops.web.frames import is_quiet
from clawloops.web.identity import identity_headers
from clawloops.web.middleware import protection
from clawloops.web.pages import Pages
from clawloops.web.refusals import Refusals
from clawloops.web.visit import Ask, Away, Doorkeeper, Visit
from clawloops.wire.request import Prepared, Reply, Request
from clawloops.wire.server import Server

log = logging.getLogger(__name__)

_TARGET = b"\r\nX-Forwarded-Uri: "  # as Traefik writes it; in any other spelling, it is read each time
_PLAIN = re.compile(rb"/[!-~]*")
_LONGEST_TARGET = 512  # bytes
_LONGEST_KNOWN = 4096
_MOST_KNOWN = 1024
_PATH = "/forward-auth/"  # and the id of a runtime
_FAILED = "ClawLoops could not check this request. Try again in a moment."
_UNREAD = "ClawLoops cannot read this request. Clear this site's cookies and try again."


def forward_auth(doorkeeper: Doorkeeper, pages: Pages) -> Server:
    """Let it listen where nobody but Traefik can reach it."""
    door = _Door(doorkeeper, pages)
    return Server(door.answer, door.unread, at_once=door.again)


class _Known(NamedTuple):
    """A request that was let in, but for its target."""

    after: bytes  # what came after the target
    method: str
    visit: Visit
    answer: Prepared


class _Door:
    def __init__(self, doorkeeper: Doorkeeper, pages: Pages) -> None:
        self._doorkeeper = doorkeeper
        self._pages = pages
        self._refusals = Refusals()
        self._known: dict[bytes, _Known] = {}  # by what came before the target

    def again(self, data: bytes) -> bytes | None:
        """The answer to a request of which all but the target has come before, and was let in; None: it is read.

        What bytes say never changes, so it is remembered; whether it may pass is asked each time.
        """
        begin = data.rfind(_TARGET) + len(_TARGET)
        known = self._known.get(data[:begin])
        if known is None:
            return None
        end = len(data) - len(known.after)
        if end - begin > _LONGEST_TARGET or data[end:] != known.after:
            return None
        quiet = _is_quiet(known.method, data[begin:end])
        if quiet is None:
            return None
        if not self._doorkeeper.goes_on(known.visit, quiet=quiet):
            del self._known[data[:begin]]  # nobody's tokens are kept for longer than they are good
            return None
        return known.answer.now()

    async def answer(self, request: Request) -> Reply:
        number = secrets.token_hex(6)
        logs.request_id.set(number)  # of this request's own task
        try:
            return await self._decide(request)
        except Away as elsewhere:
            return self._reply(elsewhere.status, b"", elsewhere.header, number)
        except Exception as error:  # whatever it was, the request does not pass
            if status_of(error) != 500:
                return self._denied(error, request, number)
            log.exception("ForwardAuth failed, the request is refused")
            return self._denied(Unavailable(_FAILED), request, number)

    def unread(self, status: int) -> Reply:
        """The answer to what is no request, and to one that broke us."""
        return self._denied(Unavailable(_FAILED) if status == 500 else BadInput(_UNREAD), None, secrets.token_hex(6))

    async def _decide(self, request: Request) -> Reply:
        if request.method != "GET" or not request.path.startswith(_PATH):
            raise NotFound("There is nothing at this address.")
        if request.content_length != 0:  # Traefik sends no body, and one may yet turn out to be none
            raise BadInput(_UNREAD)
        ask = self._ask(request)
        place = await self._doorkeeper.place_of(ask.host)
        if request.path != _PATH + place.id:
            raise Forbidden("This workspace is not at this address. Open yours from the dashboard.")
        visit = await self._doorkeeper.admit(ask)
        left = "" if visit.inspection else cookies.foreign(ask.cookies)  # the admin's are none of its business
        reply = Reply(200, b"", {**identity_headers(visit.place.owner), "Authorization": "", "Cookie": left})
        self._remember(request, ask, visit, reply)
        return reply

    def _remember(self, request: Request, ask: Ask, visit: Visit, reply: Reply) -> None:
        before, name, rest = request.raw.partition(_TARGET)
        if name and request.keeps and len(request.raw) <= _LONGEST_KNOWN:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[before + name] = _Known(rest[rest.index(b"\r") :], ask.method, visit, Prepared(reply))

    def _ask(self, request: Request) -> Ask:
        """The browser's request out of what Traefik tells about it. Raises Forbidden when any is missing or doubled."""
        match [request.all(f"x-forwarded-{name}") for name in ("method", "host", "uri", "proto")]:
            case [[method], [host], [uri], [proto]] if proto == self._doorkeeper.site.scheme:
                return Ask(method, host, uri, request.header, request.all("cookie"), request.all("origin"))
        raise Forbidden("This request did not come through the front door.")

    def _denied(self, error: Exception, request: Request | None, number: str) -> Reply:
        """Traefik passes it on to the browser: a page for a person, a document for a program."""
        nonce, header = secrets.token_urlsafe(16), wait_of(error)
        if request is not None and is_navigation(request.method, request.header):
            self._refusals.note(request.method, "at a workspace's door", status_of(error), error)
            accepted = ", ".join(request.all("accept-language"))
            languages.speak(languages.language(languages.chosen(cookies.language(request.all("cookie")), accepted)))
            values = page_of(error, method=request.method, request_id=number)
            body = self._pages.text(PAGE, nonce=nonce, on_workspace=True, **values).encode()
            header["Content-Type"] = "text/html; charset=utf-8"
        else:
            body = problem_of(error, request_id=number)
            header["Content-Type"] = PROBLEM
        return self._reply(status_of(error), body, header, number, nonce)

    def _reply(self, status: int, body: bytes, header: dict[str, str], number: str, nonce: str = "") -> Reply:
        own = protection(self._doorkeeper.site, nonce=nonce, request_id=number)
        return Reply(status, body, {**own, "Cache-Control": "no-store", **header})


@lru_cache(maxsize=4096)
def _is_quiet(method: str, target: bytes) -> bool | None:
    """`is_quiet`, or None for a target that is closed or is not spelled as browsers do."""
    text = target.decode("latin-1")
    return None if not _PLAIN.fullmatch(target) or is_closed(text) else is_quiet(method, text)

"""Who is at a workspace's door: the one order of checks that ForwardAuth, the catch-all and our own pages share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from clawloops.control.handover import challenge_of, new_state
from clawloops.control.runtimes import Runtimes
from clawloops.errors import Forbidden, NotFound, NotSignedIn, Unavailable
from clawloops.model.account import Session, SessionKind, User
from clawloops.model.runtime import Phase, View
from clawloops.web import cookies
from clawloops.web.addresses import OWN, in_query, is_closed, is_navigation, safe_path
from clawloops.web.context import ACCOUNTS, ACTIVITY, BOARD, SESSIONS, SITE, WAKER
from clawloops.web.frames import is_quiet

CHALLENGE = r"[0-9a-f]{64}"


@dataclass(frozen=True, slots=True)
class Place:
    """What never changes about a workspace: it is kept in memory, so that asking costs no query."""

    id: str
    owner: str
    slug: str


class Places:
    def __init__(self, runtimes: Runtimes) -> None:
        self._runtimes = runtimes
        self._known: dict[str, Place] = {}

    async def find(self, slug: str) -> Place | None:
        """The workspace of this slug. Only the first question about each goes to the store."""
        place = self._known.get(slug)
        if place is None:
            runtime = await self._runtimes.of_slug(slug)
            if runtime is None:
                return None
            place = self._known[slug] = Place(runtime.id, runtime.owner, runtime.slug)
        return place


PLACES: web.AppKey[Places] = web.AppKey("places", Places)


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to a workspace host, wherever it was first received."""

    method: str
    host: str
    uri: str  # path and query as sent
    headers: CIMultiDictProxy[str] | CIMultiDict[str]

    @property
    def is_navigation(self) -> bool:
        return is_navigation(self.method, self.headers)

    @property
    def is_handshake(self) -> bool:
        return "Sec-WebSocket-Key" in self.headers


@dataclass(frozen=True, slots=True)
class Visit:
    place: Place
    user: User
    session: Session
    view: View


class Asleep(Unavailable):
    """The workspace exists, the visitor may enter, and OpenClaw is not ready. `view` says how far it is."""

    def __init__(self, visit: Visit) -> None:
        super().__init__("This workspace is not running yet. It will answer when it is ready.")
        self.visit = visit


class Away(Exception):
    """The browser is sent to `location`, written exactly so, with `cookie` set."""

    def __init__(self, location: str, *, status: int = 302, cookie: str | None = None) -> None:
        super().__init__(location)
        self.location = location
        self.status = status
        self.cookie = cookie


async def place_of(app: web.Application, host: str) -> Place:
    """The workspace of an exact canonical host. Raises Forbidden for any other spelling and unknown ones."""
    slug = app[SITE].slug_of(host)
    place = await app[PLACES].find(slug) if slug is not None else None
    if place is None:
        raise Forbidden("There is no workspace at this address. Open yours from the dashboard.")
    return place


def visitor(app: web.Application, place: Place, sent: Mapping[str, str]) -> tuple[User, Session] | None:
    """Who holds a live session for this workspace. Memory only. Raises Forbidden when it is not theirs to enter."""
    token = sent.get(cookies.WORKSPACE)
    session = app[SESSIONS].find(token, SessionKind.WORKSPACE) if token else None
    if session is None:
        return None
    try:
        user = app[ACCOUNTS].get(session.user_id)
    except NotFound:
        user = None
    if user is None or user.disabled_at is not None or user.id != place.owner or session.runtime_id != place.id:
        raise Forbidden("This is not your workspace. Open yours from the dashboard.")
    return user, session


async def identify(app: web.Application, ask: Ask) -> Visit:
    """Everything but readiness. Raises Forbidden, NotFound, BadInput, NotSignedIn, or Away to the hand-over."""
    place = await place_of(app, ask.host)
    if not ask.uri.startswith("/"):
        raise Forbidden("This request has no path.")
    sent = cookies.read(ask.headers)
    if ask.is_handshake and ask.headers.getall("Origin", []) != [app[SITE].workspace_origin(place.slug)]:
        raise Forbidden("A WebSocket may be opened by this workspace's own pages only.")
    found = visitor(app, place, sent)
    if found is None:
        if ask.is_navigation:
            raise to_handover(app, place, ask.uri, sent)
        raise NotSignedIn("You are not signed in to this workspace. Reload the page.")
    return Visit(place, *found, app[BOARD].get(place.id))


async def admit(app: web.Application, ask: Ask) -> Visit:
    """A visit that may go on to the runtime: READY on the board. Raises as `identify`, Asleep, and Unavailable.

    A sleeping runtime is roused by what a person does. A paused one takes the visit at once; of one that was stopped,
    a page that is opened or connects again begins the boot.
    """
    if is_closed(ask.uri):
        raise NotFound("There is nothing at this address.")
    visit = await identify(app, ask)
    if not is_quiet(ask.method, ask.uri):
        visit = await _rouse(app, ask, visit)
    if visit.view.phase is not Phase.READY:
        if ask.is_navigation:
            origin = app[SITE].workspace_origin(visit.place.slug)
            raise Away(f"{origin}{OWN}waking?to={in_query(safe_path(ask.uri) or '/')}")
        raise Asleep(visit)
    return visit


async def _rouse(app: web.Application, ask: Ask, visit: Visit) -> Visit:
    runtime_id, phase = visit.place.id, visit.view.phase
    app[ACTIVITY].touch(runtime_id, "its pages were used")
    if phase is Phase.PAUSED or (phase is Phase.ASLEEP and (ask.is_navigation or ask.is_handshake)):
        await app[WAKER].rouse(runtime_id, "its pages were opened" if ask.is_navigation else "its pages were used")
        return replace(visit, view=app[BOARD].get(runtime_id))
    return visit


def to_handover(app: web.Application, place: Place, uri: str, sent: Mapping[str, str]) -> Away:
    """The way to the dashboard for a session here. A state that is still there is used again: tabs open at once."""
    state = sent.get(cookies.STATE) or new_state()[0]
    site = app[SITE]
    path = safe_path(uri) or "/"
    return Away(
        f"{site.origin}/handover?host={site.workspace_host(place.slug)}"
        f"&challenge={challenge_of(state)}&to={in_query(path)}",
        cookie=cookies.give(cookies.STATE, state, max_age_s=cookies.STATE_MAX_AGE_S),
    )

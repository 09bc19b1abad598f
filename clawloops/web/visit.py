"""Who is at a workspace's door: the one order of checks that ForwardAuth, the catch-all and our own pages share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aiohttp import hdrs, web

from clawloops.control.accounts import Accounts
from clawloops.control.handover import challenge_of, new_state
from clawloops.control.inspections import Inspections
from clawloops.control.runtimes import Runtimes
from clawloops.control.sessions import Sessions
from clawloops.errors import Forbidden, NotFound, NotSignedIn, Unavailable
from clawloops.model.account import Session, SessionKind, User
from clawloops.model.inspection import Inspection
from clawloops.model.runtime import Phase, View
from clawloops.orchestrator.activity import Activity
from clawloops.orchestrator.board import Board
from clawloops.web import cookies
from clawloops.web.addresses import OWN, in_query, is_closed, is_navigation, safe_path
from clawloops.web.context import Site, Waker
from clawloops.web.frames import is_quiet

CHALLENGE = r"[0-9a-f]{64}"
OPENED = "its pages were opened"
_USED = "its pages were used"


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


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to a workspace host, wherever it was first received."""

    method: str
    host: str
    uri: str  # path and query as sent
    headers: Mapping[str, str]  # asked for by lower-case names; of several of one name the first
    cookies: Sequence[str]  # every `Cookie` header
    origins: Sequence[str]  # every `Origin` header

    @classmethod
    def of(cls, request: web.Request, uri: str | None = None) -> Ask:
        """What was received on the workspace's host itself. `uri`: in place of the one that was asked for."""
        sent = request.headers
        every_cookie, every_origin = sent.getall(hdrs.COOKIE, []), sent.getall(hdrs.ORIGIN, [])
        return cls(request.method, request.host, uri or request.raw_path, sent, every_cookie, every_origin)

    @property
    def is_navigation(self) -> bool:
        return is_navigation(self.method, self.headers)

    @property
    def is_handshake(self) -> bool:
        return "sec-websocket-key" in self.headers


@dataclass(frozen=True, slots=True)
class Visit:
    place: Place
    user: User
    session: Session
    inspection: Inspection | None  # what lets in an admin who is not its member
    view: View

    def told(self, what: str) -> str:
        """A sentence about what was done, with who did it where that is somebody else than its member."""
        return f"{what} by {self.user.name}, an admin" if self.inspection else what


class Asleep(Unavailable):
    """The workspace exists, the visitor may enter, and OpenClaw is not ready. `view` says how far it is."""

    def __init__(self, visit: Visit) -> None:
        super().__init__("This workspace is not running yet. It will answer when it is ready.")
        self.visit = visit


class Away(Exception):
    """The browser is sent to `location`, written exactly so, with `cookie` set."""

    def __init__(self, location: str, *, status: int = 302, cookie: str | None = None) -> None:
        super().__init__(location)
        self.status = status
        self.header = {"Location": location, "Cache-Control": "no-store"}
        if cookie is not None:
            self.header["Set-Cookie"] = cookie


class Doorkeeper:
    """The checks, and all that they ask."""

    def __init__(
        self,
        *,
        site: Site,
        accounts: Accounts,
        sessions: Sessions,
        inspections: Inspections,
        runtimes: Runtimes,
        board: Board,
        waker: Waker,
        activity: Activity,
    ) -> None:
        self.site = site
        self._accounts = accounts
        self._sessions = sessions
        self._inspections = inspections
        self._places = Places(runtimes)
        self._board = board
        self._waker = waker
        self._activity = activity

    async def place_of(self, host: str) -> Place:
        """The workspace of an exact canonical host. Raises Forbidden for any other spelling and unknown ones."""
        slug = self.site.slug_of(host)
        place = await self._places.find(slug) if slug is not None else None
        if place is None:
            raise Forbidden("There is no workspace at this address. Open yours from the dashboard.")
        return place

    def visitor(self, place: Place, sent: Mapping[str, str]) -> tuple[User, Session, Inspection | None] | None:
        """Who holds a live session for this workspace, and what lets them in where they are not its member.

        Memory only. Raises Forbidden when it is not theirs to enter.
        """
        token = sent.get(cookies.WORKSPACE)
        session = self._sessions.find(token, SessionKind.WORKSPACE) if token else None
        if session is None:
            return None
        try:
            user = self._accounts.get(session.user_id)
        except NotFound:
            user = None
        if user is None or not user.may_work or session.runtime_id != place.id:
            raise Forbidden("This is not your workspace. Open yours from the dashboard.")
        inspection = self._inspections.admits(user, session)
        if inspection is None and (user.id != place.owner or session.inspection is not None):
            raise Forbidden("This is not your workspace. Open yours from the dashboard.")
        return user, session, inspection

    async def identify(self, ask: Ask) -> Visit:
        """Everything but readiness. Raises Forbidden, NotFound, BadInput, NotSignedIn, or Away to the hand-over."""
        place = await self.place_of(ask.host)
        if not ask.uri.startswith("/"):
            raise Forbidden("This request has no path.")
        sent = cookies.read(ask.cookies)
        if ask.is_handshake and list(ask.origins) != [self.site.workspace_origin(place.slug)]:
            raise Forbidden("A WebSocket may be opened by this workspace's own pages only.")
        found = self.visitor(place, sent)
        if found is None:
            if ask.is_navigation:
                raise self._to_handover(place, ask.uri, sent)
            raise NotSignedIn("You are not signed in to this workspace. Reload the page.")
        return Visit(place, *found, self._board.get(place.id))

    async def admit(self, ask: Ask) -> Visit:
        """A visit that may go on to the runtime: READY on the board. Raises as `identify`, Asleep, and Unavailable.

        A sleeping runtime is roused by what a person does. A paused one takes the visit at once; of one that was
        stopped, a page that is opened or connects again begins the boot.
        """
        if is_closed(ask.uri):
            raise NotFound("There is nothing at this address.")
        visit = await self.identify(ask)
        if visit.inspection is not None and "service-worker" in ask.headers:
            raise Forbidden("A workspace leaves nothing running in the browser of an admin who inspects it.")
        if not is_quiet(ask.method, ask.uri):
            visit = await self._rouse(ask, visit)
        if visit.view.phase is not Phase.READY:
            if ask.is_navigation:
                origin = self.site.workspace_origin(visit.place.slug)
                raise Away(f"{origin}{OWN}waking?to={in_query(safe_path(ask.uri) or '/')}")
            raise Asleep(visit)
        return visit

    def goes_on(self, visit: Visit, *, quiet: bool) -> bool:
        """Whether one more request of an admitted visit may pass, since nothing that it rests on has changed.

        False says nothing: ask `admit`. `quiet`: see `is_quiet`. Memory only.
        """
        runtime_id = visit.place.id
        if not (
            self._sessions.use(visit.session)
            and self._accounts.knows(visit.user)
            and (visit.inspection is None or self._inspections.holds(visit.inspection))
            and self._board.get(runtime_id).phase is Phase.READY
        ):
            return False
        if not quiet:
            self._activity.touch(runtime_id, visit.told(_USED))
        return True

    async def _rouse(self, ask: Ask, visit: Visit) -> Visit:
        runtime_id, phase = visit.place.id, visit.view.phase
        self._activity.touch(runtime_id, visit.told(_USED))
        if phase is Phase.PAUSED or (phase is Phase.ASLEEP and (ask.is_navigation or ask.is_handshake)):
            await self._waker.rouse(runtime_id, visit.told(OPENED if ask.is_navigation else _USED))
            return replace(visit, view=self._board.get(runtime_id))
        return visit

    def _to_handover(self, place: Place, uri: str, sent: Mapping[str, str]) -> Away:
        """The way to the dashboard for a session here. A state that is still there is used again: tabs open at once."""
        state = sent.get(cookies.STATE) or new_state()[0]
        path = safe_path(uri) or "/"
        return Away(
            f"{self.site.origin}/handover?host={self.site.workspace_host(place.slug)}"
            f"&challenge={challenge_of(state)}&to={in_query(path)}",
            cookie=cookies.give(cookies.STATE, state, max_age_s=cookies.STATE_MAX_AGE_S),
        )


DOORKEEPER: web.AppKey[Doorkeeper] = web.AppKey("doorkeeper", Doorkeeper)

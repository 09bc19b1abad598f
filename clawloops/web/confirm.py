"""Asking who it is once more before something dangerous, and going on with the form that was sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from clawloops.clock import steady_ms
from clawloops.control.sessions import PROOF_MS
from clawloops.errors import BadInput, TooManyAttempts
from clawloops.model.account import Session
from clawloops.web.context import (
    ARRIVALS,
    ENTRANCE,
    FACTORS,
    ISSUERS,
    PASSKEYS,
    REFUSED,
    SENT,
    SESSION,
    SESSIONS,
    USER,
)
from clawloops.web.middleware import address_of
from clawloops.web.pages import SECRET_FIELDS, render

_PROOFS = {"password": "proof_password", "code": "proof_code", "answer": "proof_answer"}
"""What proves, and the field of the page that asks for it."""

_LEFT_OUT = "left_out"  # names the first secret field that was not carried along


@dataclass(frozen=True, slots=True)
class Form:
    """One that waits until its sender has proven themselves elsewhere."""

    path: str
    fields: Sequence[tuple[str, str]]  # without secrets
    ends: int  # on the steady clock, ms


class Held:
    """The last such form of each session, for as long as a proof is good. Memory only."""

    def __init__(self) -> None:
        self._forms: dict[bytes, Form] = {}

    def put(self, session: Session, path: str, fields: Sequence[tuple[str, str]]) -> None:
        now = steady_ms()
        self._forms = {key: each for key, each in self._forms.items() if each.ends > now}
        self._forms[session.hash] = Form(path, fields, now + PROOF_MS)

    def take(self, session: Session) -> Form | None:
        form = self._forms.pop(session.hash, None)
        return form if form is not None and form.ends > steady_ms() else None


HELD: web.AppKey[Held] = web.AppKey("held", Held)


async def ask(request: web.Request) -> web.Response | None:
    """The page that asks; None when the last proof is recent, or a right one came along: then the handler goes on.

    The page holds the fields of the form that was sent, and sends them again with the proof. Secrets are not put into
    it: raises BadInput with the first of those, so that its own page asks for it.
    """
    sent = request[SENT]
    if request.app[SESSIONS].is_proved(request[SESSION]):
        _demand_whole(request)
        return None
    given = {name: sent.get(field, "") for name, field in _PROOFS.items()}
    if not any(given.values()):
        return await _page(request)
    try:
        await request.app[ENTRANCE].prove(request[SESSION], by=request[USER], address=address_of(request), **given)
    except (BadInput, TooManyAttempts) as refused:
        request[REFUSED] = refused
        return await _page(request, status=429 if isinstance(refused, TooManyAttempts) else 403)
    _demand_whole(request)
    return None


def _demand_whole(request: web.Request) -> None:
    if missing := request[SENT].get(_LEFT_OUT):
        raise BadInput("This was not kept while you confirmed who you are. Enter it again.", field=missing)


async def may_use_issuer(request: web.Request) -> bool:
    """Whether a proof at the identity provider would do: for whoever signs in with it, and has no second factor here.

    As with a password: it must not be enough to take such a factor away.
    """
    user = request[USER]
    has_factor = (await request.app[FACTORS].of(user.id)).has_factor
    return not has_factor and await request.app[ARRIVALS].of(user) is not None


async def go_on(request: web.Request) -> web.Response:
    """The form that was held, for whoever has come back from proving who they are."""
    form = request.app[HELD].take(request[SESSION])
    if form is None or not request.app[SESSIONS].is_proved(request[SESSION]):
        raise web.HTTPSeeOther("/")
    return render(request, "go_on.html", form_path=form.path, carried=form.fields, back=_back(form.path))


async def options(request: web.Request) -> web.Response:
    """For the browser's script: which passkeys would do as a proof."""
    tied_to = request[SESSION].hash.hex()
    text = await request.app[PASSKEYS].options_to_use(of=request[USER], tied_to=tied_to)
    return web.Response(text=text, content_type="application/json")


async def _page(request: web.Request, *, status: int = 403) -> web.Response:
    carried = [(name, value) for name, value in request[SENT].items() if name not in SECRET_FIELDS]
    left_out = [name for name, value in request[SENT].items() if name in SECRET_FIELDS and value]
    left_out = [name for name in left_out if name not in ("csrf", *_PROOFS.values())]
    if left_out:
        carried.append((_LEFT_OUT, left_out[0]))
    by_issuer = await may_use_issuer(request)
    if by_issuer:
        request.app[HELD].put(request[SESSION], request.path, carried)
    return render(
        request,
        "confirm.html",
        status=status,
        carried=carried,
        standing=await request.app[FACTORS].of(request[USER].id),
        issuer=request.app[ISSUERS].current if by_issuer else None,
        back=_back(request.path),
    )


def _back(path: str) -> str:
    return "/" + path.split("/")[1]

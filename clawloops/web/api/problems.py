"""Refusals as RFC 9457 problem documents, whatever went wrong and whoever noticed it."""

from __future__ import annotations

import http
import re

import msgspec
from aiohttp import hdrs, web
from msgspec import Struct

from clawloops.errors import BadInput, NotSignedIn
from clawloops.web.context import REQUEST_ID
from clawloops.web.errors import PROBLEM, status_of, text_of, wait_of

_WHERE = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?", re.DOTALL)
_NAMED = re.compile(r"Object (?:contains unknown|missing required) field `(?P<name>.*)`", re.DOTALL)
_LONGEST = 300  # characters of what a caller sent that are said back
_TEXTS = {
    404: "There is nothing at this address. /api/v1/openapi.json lists what there is.",
    405: "That cannot be done here. The header Allow says what can.",
    413: "The body holds more than 64 KiB.",
}


class Fault(Struct, frozen=True, kw_only=True):
    """One thing that is wrong with what was sent."""

    pointer: str
    """Of the field (RFC 6901), in the body or in the query read as an object."""
    detail: str


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why it was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    """By which the box's log names this call."""
    errors: list[Fault] = []


class Invalid(BadInput):
    """What was sent is not of its type. `pointer`: where, by RFC 6901."""

    def __init__(self, message: str, *, pointer: str) -> None:
        super().__init__(message)
        self.pointer = pointer


def invalid(error: msgspec.MsgspecError) -> Invalid:
    """What msgspec says of an input, with the place as a pointer."""
    if not isinstance(error, msgspec.ValidationError):
        return Invalid("The body is not valid JSON.", pointer="")
    found = _WHERE.fullmatch(str(error))
    what, path = (found["what"], found["path"] or "") if found else (str(error), "")
    parts = [name or index for name, index in re.findall(r"\.([^.\[]+)|\[([^\]]*)\]", path)]
    if named := _NAMED.fullmatch(what):
        parts.append(named["name"])
    pointer = "".join("/" + each.replace("~", "~0").replace("/", "~1") for each in parts)
    return Invalid(f"{what[:_LONGEST]}.", pointer=pointer[:_LONGEST])


def answer(request: web.Request, error: BaseException) -> web.Response:
    status = status_of(error)
    detail = text_of(error)
    if isinstance(error, web.HTTPException):
        detail = _TEXTS.get(status) or error.text or detail
    problem = Problem(
        type="about:blank",
        title=http.HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=request.path[:_LONGEST],
        request_id=request.get(REQUEST_ID, "-"),
        errors=_faults(error),
    )
    reply = web.Response(status=status, body=msgspec.json.encode(problem), content_type=PROBLEM)
    reply.headers.update(wait_of(error))
    if isinstance(error, NotSignedIn):
        reply.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="ClawLoops"'
    if isinstance(error, web.HTTPMethodNotAllowed):
        reply.headers[hdrs.ALLOW] = ", ".join(sorted(error.allowed_methods))
    return reply


def _faults(error: BaseException) -> list[Fault]:
    match error:
        case Invalid():
            return [Fault(pointer=error.pointer, detail=str(error))]
        case BadInput() if error.field:
            return [Fault(pointer=f"/{error.field}", detail=str(error))]
        case _:
            return []

"""The one table from a typed error to an HTTP status, and the answer a person or a program gets with it."""

from __future__ import annotations

import http

from aiohttp import web

from clawloops import errors
from clawloops.web.addresses import is_navigation
from clawloops.web.context import REQUEST_ID
from clawloops.web.pages import render

STATUS: dict[type[errors.ClawLoopsError], int] = {
    errors.ClawLoopsError: 500,
    errors.BadInput: 400,
    errors.NotSignedIn: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Gone: 410,
    errors.Conflict: 409,
    errors.TooManyAttempts: 429,
    errors.Unavailable: 503,
    errors.BackendUnavailable: 502,
    errors.BackendRefused: 502,
}
"""Looked up along the error's class line, nearest first."""

RETRY_AFTER_S = 2

_HEADLINES = {
    400: "That request cannot be understood",
    401: "You are signed out",
    403: "This is not open to you",
    404: "There is nothing here",
    405: "That cannot be done here",
    409: "That does not fit how things are now",
    410: "This link has ended",
    413: "That is too large",
    421: "This address is not served here",
    429: "Too many attempts",
    502: "A model backend did not answer well",
    503: "Not available right now",
}
_TEXTS = {
    404: "The address may be mistyped, or what it led to was removed.",
    405: "This address is not opened that way. Go to the first page and try from there.",
    413: "The form holds more than this page takes. Shorten it and send it again.",
    500: "An error that we did not foresee. It was logged under the number below; your admin can find it there.",
}


def status_of(error: BaseException) -> int:
    """The HTTP status of any exception; 500 for what is not ours."""
    if isinstance(error, web.HTTPException):
        return error.status
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500


def text_of(error: BaseException) -> str:
    """What may be told to the outside: our own errors speak for themselves, everything else stays in the log."""
    if isinstance(error, errors.ClawLoopsError) and str(error):
        return str(error)
    status = status_of(error)
    return _TEXTS.get(status, _TEXTS[500] if status >= 500 else "Go to the first page and try from there.")


def headline_of(status: int) -> str:
    return _HEADLINES.get(status, "Something went wrong here")


def answer(request: web.Request, error: BaseException) -> web.Response:
    """An error page for a person, an RFC 9457 problem document for a program."""
    status = status_of(error)
    sends_form = request.method == "POST" and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
    wants_page = is_navigation(request.method, request.headers) or (
        sends_form and "text/html" in request.headers.get("Accept", "")
    )
    reply = _page(request, status, text_of(error)) if wants_page else _problem(request, status, error)
    wait_s = getattr(error, "retry_after_s", RETRY_AFTER_S if status == 503 else None)
    if wait_s is not None:
        reply.headers["Retry-After"] = str(wait_s)
    return reply


def _page(request: web.Request, status: int, text: str) -> web.Response:
    return render(
        request,
        "error.html",
        status=status,
        code=status,
        headline=headline_of(status),
        text=text,
        lost=_lost(request, status),
        request_id=request.get(REQUEST_ID, "-"),
        can_retry=status in (429, 500, 502, 503) and request.method == "GET",
    )


def _lost(request: web.Request, status: int) -> str:
    if request.method in ("GET", "HEAD"):
        return "Nothing was lost."
    if status < 500:
        return "Nothing was changed."
    return "What you sent may not have been saved. Look at the page it belongs to before you send it again."


def _problem(request: web.Request, status: int, error: BaseException) -> web.Response:
    try:
        title = http.HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    document: dict[str, object] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": text_of(error),
        "request_id": request.get(REQUEST_ID, "-"),
    }
    if isinstance(error, errors.BadInput) and error.field:
        document["field"] = error.field
    return web.json_response(document, status=status, content_type="application/problem+json")

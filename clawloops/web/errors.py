"""The one table from a typed error to an HTTP status, and the answer a person or a program gets with it."""

from __future__ import annotations

import http
import json
from typing import Any

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
    errors.MailNotSent: 502,
    errors.BackendUnavailable: 502,
    errors.BackendRefused: 502,
    errors.BadIssuer: 502,
}
"""Looked up along the error's class line, nearest first."""

RETRY_AFTER_S = 2
PAGE = "error.html"
PROBLEM = "application/problem+json"

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
    413: "The form holds more than this page takes.",
    500: "An error that we did not foresee.",
}
_NEXT = {
    403: "If you think that you should be let in, ask your admin.",
    404: "Go to the first page, and look for it from there.",
    410: "Ask whoever gave it to you for a new one.",
    413: "Go back, shorten it and send it again. Your browser may still hold what you wrote.",
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
    number = request.get(REQUEST_ID, "-")
    if wants_page:
        reply = render(request, PAGE, status=status, **page_of(error, method=request.method, request_id=number))
    else:
        reply = web.Response(status=status, body=problem_of(error, request_id=number), content_type=PROBLEM)
    reply.headers.update(wait_of(error))
    return reply


def wait_of(error: BaseException) -> dict[str, str]:
    """The header that says when to try again, where that makes sense."""
    wait_s = getattr(error, "retry_after_s", RETRY_AFTER_S if status_of(error) == 503 else None)
    return {} if wait_s is None else {"Retry-After": str(wait_s)}


def page_of(error: BaseException, *, method: str, request_id: str) -> dict[str, Any]:
    """What `PAGE` shows of an error."""
    status = status_of(error)
    return {
        "code": status,
        "headline": headline_of(status),
        "text": text_of(error),
        "lost": _lost(method, status),
        "next": _next(status),
        "request_id": request_id,
        "can_retry": status in (429, 500, 502, 503) and method == "GET",
    }


def _lost(method: str, status: int) -> str:
    if method in ("GET", "HEAD"):
        return "Nothing was lost."
    if status < 500:
        return "Nothing was changed."
    return "What you sent may not have been saved. Look at the page it belongs to before you send it again."


def _next(status: int) -> str:
    """What to do, where the text does not say it: what we foresaw names its own next step."""
    if status >= 500:
        return "Try again in a moment. If it stays so, tell your admin the number below."
    return _NEXT.get(status, "")


def problem_of(error: BaseException, *, request_id: str) -> bytes:
    """The RFC 9457 document."""
    status = status_of(error)
    try:
        title = http.HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    document: dict[str, object] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": text_of(error),
        "request_id": request_id,
    }
    if isinstance(error, errors.BadInput) and error.field:
        document["field"] = error.field
    return json.dumps(document).encode()

"""What a caller is told when a call fails: in the caller's dialect, and in words that a person in the chat understands.

Shapes: `{"error": {"message", "type", "param", "code"}}` (OpenAI's API reference), `{"type": "error", "error": {"type",
"message"}}` (Anthropic's), `{"error": "message"}` (Ollama's docs/api.md). OpenClaw shows the message in the chat. The
status of each refusal is the one of the tree in `clawloops/errors.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from clawloops.errors import BackendUnavailable, BadInput, ClawLoopsError, Forbidden, NotFound, NotSignedIn, Unavailable
from clawloops.gateway.endpoints import Dialect, Endpoint, Usage
from clawloops.model.budget import Budget, Scope
from clawloops.spelling import spellings

_MOST = 600  # characters of a backend's own words that a caller gets


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP status, and what OpenAI's error body says of it."""

    status: int
    message: str
    type: str
    code: str
    param: str | None = None

    def body(self, dialect: Dialect) -> bytes:
        match dialect:
            case Dialect.OPENAI:
                error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
                return orjson.dumps({"error": error})
            case Dialect.ANTHROPIC:
                kind = _ANTHROPIC.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
                return orjson.dumps({"type": "error", "error": {"type": kind, "message": self.message}})
            case Dialect.OLLAMA:
                return orjson.dumps({"error": self.message})

    def event(self, endpoint: Endpoint) -> bytes:
        """The same as the last event of a stream that has begun."""
        match endpoint.usage:
            case Usage.CHAT:
                return b"data: %s\n\n" % self.body(endpoint.dialect)
            case Usage.MESSAGES:
                return b"event: error\ndata: %s\n\n" % self.body(endpoint.dialect)
            case Usage.RESPONSES:
                error = {"type": "error", "code": self.code, "message": self.message, "param": self.param}
                return b"event: error\ndata: %s\n\n" % orjson.dumps(error)
            case Usage.LINES:
                return self.body(endpoint.dialect) + b"\n"


# https://docs.anthropic.com/en/api/errors
_ANTHROPIC = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def of_error(error: ClawLoopsError) -> Refusal:
    """A typed error as a caller of models sees it."""
    match error:
        case BadInput():
            code = "unsupported_parameter" if error.field else "invalid_request"
            return Refusal(400, str(error), "invalid_request_error", code, error.field or None)
        case NotSignedIn():
            return Refusal(401, str(error), "authentication_error", "invalid_api_key")
        case Forbidden():
            return Refusal(403, str(error), "permission_error", "model_not_allowed", "model")
        case NotFound():
            return Refusal(404, str(error), "invalid_request_error", "not_found")
        case BackendUnavailable():
            return Refusal(502, str(error), "api_error", "backend_unavailable")
        case Unavailable():
            return Refusal(503, str(error), "api_error", "unavailable")
        case _:
            return Refusal(500, str(error), "api_error", "internal_error")


def of_http(status: int) -> Refusal:
    """The web server's own refusals: no such path, wrong method, body too large."""
    match status:
        case 413:
            return Refusal(
                413, "The request is larger than is allowed; send less.", "invalid_request_error", "too_large"
            )
        case 429:
            text = "Your calls under way hold very much already. Try again when some of them are through."
            return Refusal(429, text, "rate_limit_error", "too_much_at_once")
        case 408:
            text = "The body did not come to its end in time. Send the call again, or send less."
            return Refusal(408, text, "invalid_request_error", "too_slow")
        case 404 | 405:
            return Refusal(status, "There is no such call here.", "invalid_request_error", "unknown_url")
        case _:
            return Refusal(status, "The request was refused.", "invalid_request_error", "refused")


def unreachable(backend: str) -> Refusal:
    """The backend `backend` (its name for people) takes no connection, or breaks off before it answers."""
    return Refusal(
        502,
        f"The model backend '{backend}' does not answer. Ask your admin to look at it, or choose another model.",
        "api_error",
        "backend_unavailable",
    )


def resting(backend: str, seconds: int) -> Refusal:
    """Calls to the backend failed several times in a row, so none is made for `seconds` more."""
    return Refusal(
        503,
        f"The model backend '{backend}' failed several times and is left alone for {seconds} s more. Try again then, "
        "or choose another model; if it stays so, ask your admin to look at it.",
        "api_error",
        "backend_unavailable",
    )


def queue_full(backend: str, most: int) -> Refusal:
    """`most` calls of this member wait for the backend already."""
    return Refusal(
        429,
        f"{most} of your calls wait for the model backend '{backend}' already. Try again when some are through.",
        "rate_limit_error",
        "queue_full",
    )


def exhausted(budget: Budget, *, resets_at: int, is_passing: bool) -> Refusal:
    """A budget has nothing left; `is_passing`: calls that are under way may leave something."""
    whose = f"{_WHOSE[budget.scope]}{' for background work' if budget.is_background else ''}"
    if is_passing:
        text = f"The rest of the budget {whose} ({budget.in_words}) is set aside for calls under way. Try again soon."
    else:
        anew = datetime.fromtimestamp(resets_at / 1000, UTC)
        when = f"It begins anew at {anew:%H:%M} UTC on {anew:%d %B}."
        text = f"The budget {whose} ({budget.in_words}) is used up. {when} Ask your admin for more."
    return Refusal(429, text, "rate_limit_error", "budget_exhausted")


_WHOSE = {
    Scope.BOX: "of this box",
    Scope.EACH: "that each member has",
    Scope.MEMBER: "that you have",
    Scope.GROUP: "that your group has",
    Scope.KEY: "of this key",
    Scope.MODEL: "of this model",
}


def held(why: str) -> Refusal:
    """A runtime goes in circles with nobody at it."""
    text = f"What this workspace asks on its own is held, because {why}. Nothing is lost: resume it on the dashboard."
    return Refusal(429, text, "rate_limit_error", "background_held")


def keyless(backend: str) -> Refusal:
    """The backend has keys, and none of them is for this member's calls."""
    return Refusal(
        403,
        f"None of the keys of the model backend '{backend}' is for your calls. Ask your admin.",
        "permission_error",
        "no_key_for_you",
    )


def of_backend(backend: str, status: int, raw: bytes, secrets: tuple[str, ...], *, path: str) -> Refusal:
    """A backend's refusal. Its own words are kept where the request was at fault, and left out where its set-up is."""
    match status:
        case 401 | 403:  # often quotes a part of the key
            why = "refused the key that your admin gave it. Ask your admin to check the key"
            return Refusal(502, f"The model backend '{backend}' {why}.", "api_error", "backend_key_refused")
        case 404:
            why = f"does not know this model (any more), or not {path}. Ask your admin to check the model's name there"
            return Refusal(502, f"The model backend '{backend}' {why}.", "api_error", "backend_model_unknown")
        case 402 | 429:
            words = said(raw, secrets) or "too many requests"
            text = f"The model backend '{backend}' asks to slow down, or its quota is used up: {words}"
            return Refusal(429, text, "rate_limit_error", "rate_limit_exceeded")
        case _ if 400 <= status < 500:
            words = said(raw, secrets) or f"HTTP {status}"
            text = f"The model backend '{backend}' refused the request: {words}"
            return Refusal(status, text, "invalid_request_error", "backend_refused")
        case _:
            why = f"failed (HTTP {status}). Try again; if it stays so, ask your admin to look at it"
            return Refusal(502, f"The model backend '{backend}' {why}.", "api_error", "backend_failed")


def said(raw: bytes, secrets: tuple[str, ...]) -> str:
    """The words of a backend's error body, scrubbed of `secrets` and cut; "" when it said nothing readable."""
    text = raw.decode("utf-8", "replace")
    try:
        answer = orjson.loads(raw)
    except orjson.JSONDecodeError:
        text = "" if text.lstrip().startswith("<") else text  # a proxy's HTML page helps nobody in a chat
    else:
        text = _words(answer)
    return scrub(" ".join(text.split())[: 4 * _MOST], secrets)[:_MOST]


def _words(answer: object) -> str:
    while isinstance(answer, dict):
        answer = next((answer[name] for name in ("error", "message", "detail") if answer.get(name)), "")
    return answer if isinstance(answer, str) else ""


def scrub(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without the secrets, and without any 10 characters in a row of one (backends quote keys in part).

    Whatever they are spelled in: a backend may quote what it was sent in JSON, in an address or in base64.
    """
    for secret in (each for given in secrets for each in spellings(given)):
        for start in range(max(1, len(secret) - 9)):
            part = secret[start : start + 10]
            if len(part) >= 4 and part in text:
                text = text.replace(secret, "[secret]").replace(part, "[secret]")
    return text

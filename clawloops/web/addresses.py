"""Paths as attackers and proxies spell them: what may be redirected to, and what never reaches a runtime. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,2047}")  # printable ASCII without space and backslash
_DOTS = re.compile(r"(^|/)(\.|%2e){1,2}(/|$)", re.IGNORECASE)
OWN = "/.clawloops/"
_CLOSED = (".clawloops",), ("api", "v1", "admin")


def safe_path(text: str | None) -> str | None:
    """`text` if it is a path on the same host, else None. `//evil` is not, nor what could become it (`/..//evil`)."""
    if text is None or not _PATH.fullmatch(text) or _DOTS.search(text.split("?", 1)[0]) or is_closed(text):
        return None
    return text


def is_closed(uri: str) -> bool:
    """Whether a request target means our own paths or OpenClaw's admin calls, however it is spelled.

    A runtime may decode once more than we do, so this decodes until nothing changes and folds case.
    """
    path = re.split(r"[?#]", uri, maxsplit=1)[0]
    for _ in range(8):
        decoded = unquote(path)
        if decoded == path:
            break
        path = decoded
    parts: list[str] = []
    for part in re.split(r"[/\\]+", path):
        name = part.split(";", 1)[0].strip().lower()
        if name == "..":
            del parts[-1:]
        elif name not in ("", "."):
            parts.append(name)
    return any(tuple(parts[: len(closed)]) == closed for closed in _CLOSED)


def in_query(path: str) -> str:
    return quote(path, safe="/")


def is_navigation(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a person is going somewhere, so that a redirect or a page is the right answer.

    Fetch metadata decides where a browser sends it (https://www.w3.org/TR/fetch-metadata/); `Accept` where not.
    `headers`: by lower-case names.
    """
    if method != "GET" or "sec-websocket-key" in headers:
        return False
    mode = headers.get("sec-fetch-mode")
    if mode is not None:
        return mode == "navigate" and headers.get("sec-fetch-dest", "document") == "document"
    return "text/html" in headers.get("accept", "")

"""What ForwardAuth is asked when browsers are at work: Traefik's bytes for every member, kind of request and target."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from itertools import product

_TARGETS = [*(f"/assets/index-{number}.js" for number in range(16)), "/", "/chat?session=main", "/api/health", "/x.svg"]
_KINDS = (
    ("text/html,application/xhtml+xml,*/*;q=0.8", "document", "navigate"),
    ("*/*", "script", "no-cors"),
    ("application/json", "empty", "cors"),
)
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"


def of_traefik(members: Sequence[Mapping[str, str]]) -> list[bytes]:
    """As version 3.7 writes them, sorted by name. `members`: see `door.py`."""
    made = []
    for member, (accept, what, mode), target in product(members, _KINDS, _TARGETS):
        header = [
            ("Host", "127.0.0.1:8082"), ("User-Agent", _BROWSER), ("Accept", accept),
            ("Accept-Encoding", "gzip, deflate, br, zstd"), ("Accept-Language", "en-US,en;q=0.9"),
            ("Cookie", member["cookie"]), ("Referer", f"http://{member['host']}/chat?session=main"),
            ("Sec-Fetch-Dest", what), ("Sec-Fetch-Mode", mode), ("Sec-Fetch-Site", "same-origin"),
            ("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-Host", member["host"]), ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Port", "80"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Uri", target),
        ]  # fmt: skip
        made.append(_request(member["path"], header))
    random.Random(8).shuffle(made)  # noqa: S311  # the same order in every round
    return made


def of_browser(member: Mapping[str, str]) -> bytes:
    """A request to the workspace itself."""
    header = [("Host", member["host"]), ("User-Agent", _BROWSER), ("Accept", "*/*"), ("Cookie", member["cookie"])]
    return _request("/chat?session=main", header)


def script(requests: Sequence[bytes]) -> str:
    """Lua by which wrk sends them in turns."""
    listed = ", ".join(json.dumps(each.decode("ascii")) for each in requests)
    return f"local made, at = {{{listed}}}, 0\nrequest = function() at = at % #made + 1; return made[at] end\n"


def _request(path: str, header: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in header), "", ""]
    return "\r\n".join(lines).encode()

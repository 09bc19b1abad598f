"""Every spelling in which a secret may stand in a text that somebody else wrote: as it is, escaped, or encoded."""

from __future__ import annotations

import base64
import html
import json
from functools import lru_cache
from urllib.parse import quote, quote_plus

_DOTNET = {each: f"\\u{ord(each):04X}" for each in "\"&'+<>`"} | {"\\": "\\\\"}
_SHORTEST = 8  # characters; the encodings of less would be found in ordinary words


@lru_cache(maxsize=256)
def spellings(secret: str) -> tuple[str, ...]:
    """The secret itself first. In JSON, Python, HTML and addresses, in hex, and in base64 wherever it begins there."""
    if len(secret) < _SHORTEST:
        return (secret,)
    raw = secret.encode("utf-8", "surrogatepass")
    in_json = json.dumps(secret)[1:-1]
    return tuple(
        dict.fromkeys(
            (
                secret,
                in_json,
                in_json.replace("/", "\\/"),  # PHP
                *("".join(_escaped(each, form) for each in secret) for form in ("\\u{:04x}", "\\u{:04X}")),  # .NET
                "".join(_DOTNET.get(each, each) for each in secret),  # System.Text.Json as it comes
                repr(secret)[1:-1],
                html.escape(secret),
                html.escape(secret).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),  # Jinja
                quote(raw, safe=""),
                quote_plus(raw),
                quote(raw),  # Python's own default
                raw.hex(),
                raw.hex().upper(),
                *(_core(raw, before, altchars) for before in range(3) for altchars in (b"+/", b"-_")),
            )
        )
    )


def _escaped(character: str, form: str) -> str:
    return character if character.isalnum() else form.format(ord(character))


def _core(raw: bytes, before: int, altchars: bytes) -> str:
    """Of its base64, `before` bytes after a multiple of three, the part that no neighbour has a share in."""
    encoded = base64.b64encode(bytes(before) + raw, altchars).decode()
    first, last = (before * 8 + 5) // 6, (before + len(raw)) * 8 // 6
    return encoded[first:last]

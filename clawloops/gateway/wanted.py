"""What a runtime asks of the egress proxy: a tunnel, or one plain request, made anew for whom it is for. Pure.

RFC 9110, 9.3.6 (CONNECT) and RFC 9112, 3.2 (forms of a target). One request is passed on per connection, and its body
only with a Content-Length: so nothing can hide behind it that was meant for another host.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass

import httptools

from clawloops.model.egress import canonical

MOST_HEADER = 32 * 1024  # bytes
_HOP_BY_HOP = frozenset({b"connection", b"host", b"keep-alive", b"te", b"trailer", b"upgrade", b"content-length"})
_TARGET = re.compile(r"http://(?P<authority>[^/?#@]*)(?P<path>[/?][^#]*)?", re.IGNORECASE)
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_DIGITS = re.compile(rb"[0-9]{1,18}")


class NotWanted(Exception):
    """It is no request that a proxy passes on. `status`: of HTTP; the text is for whoever sent it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wanted:
    host: str  # as `canonical` writes it
    port: int
    head: bytes = b""  # of the request for the host; b"" for a tunnel
    length: int = 0  # bytes of the body that follows it


class _Head:
    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.is_complete = False

    def on_url(self, piece: bytes) -> None:
        self.target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def read(head: bytes) -> Wanted:
    """`head`: all bytes up to the empty line, and that line. Raises NotWanted."""
    told = _Head()
    parser = httptools.HttpRequestParser(told)
    try:
        with suppress(httptools.HttpParserUpgrade):  # CONNECT is one to llhttp; other upgrades are not passed on
            parser.feed_data(head)
    except httptools.HttpParserError as error:
        raise NotWanted(400, "This is not a request of HTTP/1.1.") from error
    if not told.is_complete or any(b"\r" in value or b"\n" in value for _, value in told.fields):
        raise NotWanted(400, "This is not a request of HTTP/1.1.")
    target = told.target.decode("latin-1")
    if parser.get_method() == b"CONNECT":
        host, port = _place(target, usual=None)
        return Wanted(host, port)
    found = _TARGET.fullmatch(target)
    if found is None:
        raise NotWanted(400, "This is a proxy: send it http://host/path, or CONNECT host:443.")
    host, port = _place(found["authority"], usual=80)
    length = _length(told.fields)
    left_out = _left_out(told.fields)
    fields = [(name, value) for name, value in told.fields if name.lower() not in left_out]
    path = found["path"] or "/"
    lines = [
        b"%b %b HTTP/1.1" % (parser.get_method(), (path if path[0] == "/" else "/" + path).encode("latin-1")),
        b"Host: " + found["authority"].encode("latin-1"),
        *(b"%b: %b" % field for field in fields),
        *([b"Content-Length: %d" % length] if length is not None else []),
        b"Connection: close\r\n\r\n",
    ]
    return Wanted(host, port, b"\r\n".join(lines), length or 0)


def _place(authority: str, *, usual: int | None) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(authority)
    host = canonical(found["host"]) if found else None
    port = int(found["port"]) if found and found["port"] else usual
    if host is None or port is None or not 0 < port < 65536:
        raise NotWanted(400, "This names no host and port.")
    return host, port


def _length(fields: list[tuple[bytes, bytes]]) -> int | None:
    if any(name.lower() == b"transfer-encoding" for name, _ in fields):
        raise NotWanted(411, "Send the body with a Content-Length, or use https://.")
    lengths = [value for name, value in fields if name.lower() == b"content-length"]
    if not lengths:
        return None
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise NotWanted(400, "There must be one Content-Length.")
    return int(lengths[0])


def _left_out(fields: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Names of fields that are between the runtime and us."""
    named = {
        each.strip().lower() for name, value in fields if name.lower() == b"connection" for each in value.split(b",")
    }
    proxy = {name.lower() for name, _ in fields if name.lower().startswith(b"proxy-")}
    return _HOP_BY_HOP | named | proxy

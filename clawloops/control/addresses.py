"""Addresses of backends as admins type them."""

from __future__ import annotations

from yarl import URL

from clawloops.errors import BadInput
from clawloops.gateway.resolve import is_out_of_bounds


def address_of(text: str) -> str:
    """An http(s) address without a trailing slash. Loopback is refused: it would be this container, not the box.

    So is one that holds a password: addresses are shown, and kept as they are.
    """
    try:
        url = URL(text if "://" in text else f"http://{text}")
    except ValueError as error:
        raise BadInput(f"This is not an address ({error}). Example: http://192.168.1.20:8000/v1", field="url") from None
    if (
        url.scheme not in ("http", "https")
        or not url.host
        or url.user
        or url.password
        or url.query_string
        or url.fragment
    ):
        raise BadInput("Give an http or https address, for example http://192.168.1.20:8000/v1", field="url")
    if _is_loopback(url.host):
        raise BadInput(
            "localhost means ClawLoops' own container here. For a server on this box use "
            "http://host.docker.internal:PORT/v1, and let it listen on more than 127.0.0.1.",
            field="url",
        )
    return str(url).rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return is_out_of_bounds(host)
    except ValueError:  # a name: looked at when it is resolved
        return False

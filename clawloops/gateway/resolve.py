"""Where the name of a model backend may lead: never to this container itself, nor to where clouds keep their secrets.

Checked with each new connection, because a name may lead elsewhere tomorrow (DNS rebinding; security.md, 18).
"""

from __future__ import annotations

import socket
from ipaddress import IPv6Address, ip_address

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.resolver import ThreadedResolver


def is_out_of_bounds(address: str) -> bool:
    """Whether this IP address is loopback, unspecified or link-local (169.254.0.0/16). Raises ValueError for a name."""
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return found.is_loopback or found.is_unspecified or found.is_link_local


class VettedResolver(ThreadedResolver):
    """The system's resolver, without the addresses that no backend has."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises OSError when the name is unknown, or leads nowhere else."""
        found = await super().resolve(host, port, family)
        allowed = [each for each in found if not is_out_of_bounds(each["host"])]
        if not allowed:
            raise OSError(f"{host} leads to this container itself, or to a link-local address: no backend is there")
        return allowed


def upstream_session() -> aiohttp.ClientSession:
    """A session for everything but calls of models: no proxy from the environment, nothing unpacked.

    Connecting may take 10 s, silence 300 s (a large model is loaded, a long prompt is read), an answer for ever.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60, resolver=VettedResolver()),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=300),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    )

"""Another process's network namespace, entered by one thread for a moment."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from clawloops.orchestrator.canary import Dial

CLONE_NEWNET = 0x40000000


@contextmanager
def entered(pid: int) -> Iterator[None]:
    """What this thread opens meanwhile is opened there; nothing may be awaited."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as ours, open(f"/proc/{pid}/ns/net") as theirs:
        if libc.setns(theirs.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if libc.setns(ours.fileno(), CLONE_NEWNET) != 0:
                os._exit(1)  # nothing that follows would be where it believes to be


def socket_in(pid: int, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, proto: int = 0) -> socket.socket:
    """A socket that lives there, whoever uses it."""
    with entered(pid):
        return socket.socket(family, kind, proto)


def dial_from(pid: int) -> Dial:
    """Connects from there."""

    async def dial(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        made = socket_in(pid)
        made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, (address, port))
        except BaseException:
            made.close()
            raise
        return await asyncio.open_connection(sock=made)

    return dial

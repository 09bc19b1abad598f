"""Files that arrive from a browser: written as they come, and never until the disk is full."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from clawloops.errors import BadInput, Unavailable

LOOK_EVERY = 64 * 1024**2  # bytes between two looks at the disk
SPARE = 2 * 1024**3  # bytes of disk that stay free: the database lives there too
STALL_S = 60.0  # so long an upload may be silent


def _ignore(chunk: bytes) -> None:
    pass


async def received(
    path: Path, chunks: AsyncIterator[bytes], *, most: int, look: Callable[[bytes], None] = _ignore
) -> None:
    """Write to a new file at `path` what comes, at most `most` bytes. `look` is shown each piece, and may refuse it.

    Raises BadInput when it is too long or stops arriving, Unavailable when the disk is nearly full, OSError.
    """
    await asyncio.to_thread(path.parent.mkdir, mode=0o700, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    size, look_at = 0, 0
    with os.fdopen(descriptor, "wb") as file:
        while (chunk := await _next(chunks)) is not None:
            size += len(chunk)
            if size > most:
                raise BadInput(f"The file is larger than {most // 1024**3} GiB.", field="file")
            if size >= look_at:
                look_at = size + LOOK_EVERY
                if (await asyncio.to_thread(shutil.disk_usage, path.parent)).free < SPARE:
                    raise Unavailable("The disk is nearly full. Ask an administrator to free some space first.")
            look(chunk)
            await asyncio.to_thread(file.write, chunk)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(STALL_S):
            return await anext(chunks, None)
    except TimeoutError:
        raise BadInput("The file stopped arriving. Send it again.", field="file") from None

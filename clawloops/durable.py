"""What a power cut does not undo: files put in place whole, and folders that keep what was renamed in them."""

from __future__ import annotations

import os
from pathlib import Path


def put_in_place(part: Path, to: Path) -> None:
    """By one rename: `to` is what it was, or all of `part`. Raises OSError."""
    sync(part)
    part.replace(to)
    sync(to.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

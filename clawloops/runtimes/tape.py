"""A tar as a stream: rewritten entry by entry as it passes, with a few pieces of it in memory, whatever its size."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import Protocol, Self

PIECE = 1024 * 1024
MOST_HEADER = 64 * 1024  # bytes of the extended header of one entry: its names, mostly
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)

Change = Callable[[tarfile.TarInfo], tarfile.TarInfo | None]


class Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Damaged(Exception):
    """The tar is not whole, or is not one. Whoever knows where it came from says what that means."""


class _Careful(tarfile.TarInfo):
    """An entry whose headers cannot fill the memory: tarfile reads an extended header whole, whatever its size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            raise Damaged(str(error)) from error  # tarfile would take it for the end

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.size < 0 or self.type == tarfile.XGLTYPE:
            raise Damaged("it has a header that no workspace needs")
        if self.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE, *_GNU_LONG) and self.size > MOST_HEADER:
            raise Damaged("the header of an entry is too long")
        return super()._proc_member(archive)  # type: ignore[misc,no-any-return]


_GNU_LONG = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class Chunks:
    """An iterator of bytes as a file that can only be read forward."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, b"" at the end."""
        if not self._rest:
            self._rest = next(self._chunks, b"")
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def rewritten(source: Readable, change: Change, *, first: bytes = b"") -> Iterator[bytes]:
    """The tar `source` with every entry as `change` returns it, left out where that is None; `first` goes before all.

    An entry keeps its content; what is no regular file has none. Raises Damaged, and whatever `change` raises.
    """
    return _gathered(_rewritten(source, change, first))


def _rewritten(source: Readable, change: Change, first: bytes) -> Iterator[bytes]:
    yield first
    try:
        with tarfile.open(  # type: ignore[call-overload]
            fileobj=source, mode="r|", bufsize=PIECE, tarinfo=_Careful, encoding="utf-8", errors="surrogateescape"
        ) as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # tarfile keeps every entry that it has read
                kept = change(member)
                if kept is None:
                    continue
                kept.size = member.size if member.isreg() else 0
                yield header(kept)
                if kept.size:
                    yield from _content(archive, member, kept.size)
        while source.read(PIECE):
            pass  # what follows the end is read too, so that whoever checks the whole of it sees the whole
    except (tarfile.TarError, EOFError, RecursionError, ValueError, OverflowError) as error:
        raise Damaged(str(error)) from error
    yield _END


def header(member: tarfile.TarInfo) -> bytes:
    """An entry's header, in the POSIX format; names keep the bytes that they had."""
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """What follows a content of `size` bytes."""
    return bytes(-size % _BLOCK)


def whole(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks as they are. Raises Damaged at their end when that is not the end of a tar.

    The Engine ends its answer as if all were well when it could not read a file to its end.
    """
    tail = b""
    for chunk in chunks:
        tail = (tail + chunk)[-len(_END) :]
        yield chunk
    if tail != _END:
        raise Damaged("it ends too early")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, size: int) -> Iterator[bytes]:
    file = archive.extractfile(member)
    left = size
    while left and file is not None:
        piece = file.read(min(left, PIECE))
        if not piece:
            break
        left -= len(piece)
        yield piece
    if left:
        raise Damaged("it ends inside a file")
    yield padding(size)


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of a size that is worth sending: a header alone is 512 bytes."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= PIECE:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)

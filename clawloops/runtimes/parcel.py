"""A workspace as one file: a gzip tar with a manifest before the files. One that comes from a person is hostile.

clawloops-workspace.json      what it is, first
workspace/…                   the files of /home/node
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import posixpath
import secrets
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clawloops.errors import BadInput
from clawloops.runtimes import tape
from clawloops.runtimes.files import GID, UID
from clawloops.runtimes.spec import HOME

FORMAT = 1
MANIFEST = "clawloops-workspace.json"
ROOT = "workspace"
MOST_ENTRIES = 1_000_000
_MOST_MANIFEST = 64 * 1024
_LEVEL = 3  # of gzip: the next ones take twice the time for a few per cent
_ENGINE_ROOT = HOME.lstrip("/")
_PROGRAMS = ("/bin", "/lib", "/lib64", "/opt", "/usr")
"""Where a link may point beside the workspace: the image's own, read-only. A Python venv points at its interpreter."""

Keep = Callable[[str], bool]
"""Whether a path, relative to the workspace, comes along."""


@dataclass(frozen=True, slots=True)
class Written:
    bytes: int  # size of the file
    entries: int
    left_out: int  # sockets, pipes, and links to places that a workspace has no business with


def path(data: str, job_id: str) -> Path:
    """Where the file of an export or import lies, named by its job."""
    return Path(data) / "parcels" / f"{job_id}.tar.gz"


def write(path: Path, chunks: Iterator[bytes], manifest: Mapping[str, Any], *, keep: Keep) -> Written:
    """The Engine's tar of /home as one file at `path`, 0600, there only when it is whole. OSError: no room, no rights.

    `manifest` is said beside the format number. What `read` would refuse is left out.
    """
    entries = left_out = 0

    def change(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        nonlocal entries, left_out
        inner = _inner(member.name, _ENGINE_ROOT)
        if inner is None or (inner and not keep(inner)):
            return None
        link = _inner(member.linkname, _ENGINE_ROOT) if member.islnk() else ""
        if not _kind_fits(member) or link is None or (link and not keep(link)) or not _link_fits(member, inner):
            left_out += 1
            return None
        entries += 1
        return _plain(member, _join(ROOT, inner), _join(ROOT, link) if member.islnk() else member.linkname)

    said = json.dumps({"format": FORMAT, **manifest}, ensure_ascii=False, sort_keys=True).encode()
    stream = tape.rewritten(tape.Chunks(tape.whole(chunks)), change, first=_entry(MANIFEST, said))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_LEVEL, filename="", mtime=0) as packed:
                for piece in stream:
                    packed.write(piece)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return Written(size, entries, left_out)


def manifest(path: Path) -> dict[str, Any]:
    """What a file says about itself. BadInput when it is no workspace file of a format that we know."""
    with _refused(), path.open("rb") as file, gzip.GzipFile(fileobj=file) as packed:
        unpacked = packed.read(2 * tarfile.BLOCKSIZE + _MOST_MANIFEST)
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            return _manifest(archive.next(), archive)


def read(path: Path, *, keep: Keep, most_bytes: int, most_entries: int = MOST_ENTRIES) -> Iterator[bytes]:
    """The tar that the Engine unpacks at /, from a file of a person.

    BadInput while it is read, with what is wrong: nothing of it may be used then.
    """
    manifest(path)
    checked = _Checked(keep, most_entries)
    with _refused(), path.open("rb") as file, gzip.GzipFile(fileobj=file) as packed:
        limited = tape.Chunks(tape.whole(_limited(packed, most_bytes)))
        yield from tape.rewritten(limited, checked.change)
        checked.end()


class _Checked:
    """Every entry of a file from a person: where it goes, what it is, and that nothing goes through a link."""

    def __init__(self, keep: Keep, most_entries: int) -> None:
        self._keep = keep
        self._most = most_entries
        self._seen: dict[int, bytes] = {}  # hash of a path -> type; a full path each would be a memory of its own

    def change(self, member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = member.name
        if not self._seen:
            self._seen[hash(MANIFEST)] = b""
            return None  # `manifest` has read it
        if len(self._seen) > self._most:
            raise BadInput(f"the file holds more than {self._most} entries; a workspace has far fewer", field="file")
        inner = _inner(name, ROOT)
        if inner is None:
            raise _bad(name, "lies outside the workspace")
        if not _kind_fits(member):
            raise _bad(name, "is neither a file, a folder nor a link")
        if not _link_fits(member, inner):
            raise _bad(name, f"is a link that leaves the workspace ({member.linkname[:100]!r})")
        link = ""
        if member.islnk():
            target = _inner(member.linkname, ROOT)
            if not target or self._seen.get(hash(member.linkname)) != tarfile.REGTYPE:
                raise _bad(name, "is a hard link to no file of the workspace before it")
            if not self._keep(target):
                return None
            link = _join(_ENGINE_ROOT, target)
        self._place(name, member)
        if inner and not self._keep(inner):
            return None
        return _plain(member, _join(_ENGINE_ROOT, inner), link if member.islnk() else member.linkname)

    def end(self) -> None:
        if hash(ROOT) not in self._seen:
            raise BadInput("the file holds no workspace; export it again", field="file")

    def _place(self, name: str, member: tarfile.TarInfo) -> None:
        if hash(name) in self._seen:
            raise _bad(name, "is there twice")
        parent = posixpath.dirname(name)
        if name != ROOT and self._seen.get(hash(parent)) != tarfile.DIRTYPE:
            raise _bad(name, "lies in no folder of the file")
        if name == ROOT and not member.isdir():
            raise _bad(name, "is no folder")
        kind = tarfile.REGTYPE if member.isreg() or member.islnk() else member.type
        self._seen[hash(name)] = kind


def _inner(name: str, root: str) -> str | None:
    """The path relative to the workspace ("" for itself); None when it is none of the workspace."""
    if name != root and not name.startswith(f"{root}/"):
        return None
    parts = name.split("/")
    if any(part in ("", ".", "..") or len(part) > 255 for part in parts) or "\0" in name or len(name) > 4000:
        return None
    return name[len(root) + 1 :]


def _kind_fits(member: tarfile.TarInfo) -> bool:
    kinds = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
    return member.type in kinds and member.sparse is None and member.size >= 0


def _link_fits(member: tarfile.TarInfo, inner: str) -> bool:
    """Whether a symbolic link points into the workspace or at the image's programs. It is text until it is followed,
    and it is followed only inside the member's own container; what could be followed while unpacking is refused by
    `_Checked._place`, whatever it points at.
    """
    if not member.issym():
        return True
    link = member.linkname
    if not link or "\0" in link or len(link) > 4000:
        return False
    there = posixpath.normpath(posixpath.join(HOME, posixpath.dirname(inner), link))
    return any(there == each or there.startswith(f"{each}/") for each in (HOME, *_PROGRAMS))


def _plain(member: tarfile.TarInfo, name: str, link: str) -> tarfile.TarInfo:
    """The entry with nothing in it but what a workspace needs: its owner is the runtime's user, no setuid, no more."""
    made = tarfile.TarInfo(name)
    made.type = tarfile.REGTYPE if member.isreg() else member.type
    made.linkname = link if member.issym() or member.islnk() else ""
    made.size = member.size if member.isreg() else 0
    made.mode = member.mode & 0o777 | (0o700 if name in (ROOT, _ENGINE_ROOT) else 0)
    made.uid, made.gid = UID, GID
    made.mtime = int(min(max(member.mtime, 0), 2**33))
    return made


def _entry(name: str, content: bytes) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    return tape.header(member) + content + tape.padding(len(content))


def _manifest(first: tarfile.TarInfo | None, archive: tarfile.TarFile) -> dict[str, Any]:
    known = first is not None and first.name == MANIFEST and first.isreg() and first.size <= _MOST_MANIFEST
    file = archive.extractfile(first) if first is not None and known else None
    said = json.loads(file.read()) if file is not None else None
    if not isinstance(said, dict):
        raise BadInput("this is no workspace file; take one that ClawLoops exported", field="file")
    if said.get("format") != FORMAT:
        raise BadInput(
            f"the workspace file has the format {str(said.get('format'))[:20]}, and this ClawLoops reads {FORMAT}; "
            "upgrade ClawLoops first",
            field="file",
        )
    return said


def _limited(packed: gzip.GzipFile, most: int) -> Iterator[bytes]:
    left = most
    while piece := packed.read(tape.PIECE):
        left -= len(piece)
        if left < 0:
            raise BadInput(
                f"the file unpacks to more than {most // 1024**2} MiB, which is more than there is room for; "
                "make it smaller, or ask an administrator to free some space",
                field="file",
            )
        yield piece


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """Whatever a file that is not whole makes the readers raise becomes one BadInput."""
    try:
        yield
    except (tape.Damaged, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, RecursionError) as error:
        raise BadInput(f"the workspace file is damaged ({error}); export it again", field="file") from error


def _bad(name: str, what: str) -> BadInput:
    return BadInput(f"{name[:200]!r} in the file {what}; nothing was imported", field="file")


def _join(root: str, inner: str) -> str:
    return f"{root}/{inner}" if inner else root

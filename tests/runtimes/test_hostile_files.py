"""Workspace files from a person who means harm, or whose disk was full: each is refused, and says why."""

from __future__ import annotations

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clawloops.errors import BadInput
from clawloops.runtimes import names, parcel, tape, volumes
from tests.runtimes import workspaces
from tests.runtimes.workspaces import archive, inside
from tests.standin.place import Place

Entry = tuple[tarfile.TarInfo, bytes]


def entry(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", link: str = "", **fields: Any) -> Entry:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, len(content)
    for field, value in fields.items():
        setattr(made, field, value)
    return made, content


def manifest(said: Any = None) -> Entry:
    return entry(parcel.MANIFEST, content=json.dumps({"format": 1} if said is None else said).encode())


ROOT = entry("workspace", tarfile.DIRTYPE)
FOLDER = entry("workspace/d", tarfile.DIRTYPE)
FILE = entry("workspace/f", content=b"f")


def packed(*entries: Entry) -> bytes:
    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for made, content in entries:
            tar.addfile(made, io.BytesIO(content))
    return unpacked.getvalue()


def whole(*entries: Entry) -> bytes:
    return gzip.compress(packed(manifest(), *entries))


LINK, HARD, FOLDER_TYPE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
REFUSED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "damaged"),
    "no gzip": (b"a letter from ada", "damaged"),
    "no tar": (gzip.compress(b"x" * 5000), "damaged"),
    "no manifest": (gzip.compress(packed(ROOT, FILE)), "no workspace file"),
    "manifest later": (gzip.compress(packed(ROOT, manifest(), FILE)), "no workspace file"),
    "manifest no JSON": (gzip.compress(packed(entry(parcel.MANIFEST, content=b"{"), ROOT)), "damaged"),
    "manifest a list": (gzip.compress(packed(manifest([]), ROOT)), "no workspace file"),
    "manifest a link": (gzip.compress(packed(entry(parcel.MANIFEST, LINK, link="/etc"), ROOT)), "no workspace file"),
    "later format": (gzip.compress(packed(manifest({"format": 2}), ROOT)), "upgrade ClawLoops"),
    "no workspace": (whole(), "holds no workspace"),
    "absolute": (whole(ROOT, entry("/etc/passwd", content=b"x")), "outside the workspace"),
    "dots": (whole(ROOT, entry("workspace/../../etc/passwd", content=b"x")), "outside the workspace"),
    "dots at the end": (whole(ROOT, FOLDER, entry("workspace/d/..", FOLDER_TYPE)), "outside the workspace"),
    "beside": (whole(ROOT, entry("other/file", content=b"x")), "outside the workspace"),
    "name begins alike": (whole(ROOT, entry("workspace2/file", content=b"x")), "outside the workspace"),
    "too long a name": (whole(ROOT, entry("workspace/" + "n" * 256)), "outside the workspace"),
    "second manifest": (whole(ROOT, manifest()), "outside the workspace"),
    "character device": (whole(ROOT, entry("workspace/null", tarfile.CHRTYPE, devmajor=1, devminor=3)), "neither"),
    "block device": (whole(ROOT, entry("workspace/sda", tarfile.BLKTYPE, devmajor=8)), "neither"),
    "pipe": (whole(ROOT, entry("workspace/pipe", tarfile.FIFOTYPE)), "neither"),
    "unknown kind": (whole(ROOT, entry("workspace/x", b"Z")), "neither"),
    "root a file": (whole(entry("workspace", content=b"x")), "no folder"),
    "root a link": (whole(entry("workspace", LINK, link="/usr")), "no folder"),
    "link to etc": (whole(ROOT, entry("workspace/l", LINK, link="/etc/shadow")), "leaves the workspace"),
    "link out": (whole(ROOT, FOLDER, entry("workspace/d/l", LINK, link="../../x")), "leaves the workspace"),
    "link to a socket": (whole(ROOT, entry("workspace/l", LINK, link="/run/docker.sock")), "leaves the workspace"),
    "link around usr": (whole(ROOT, entry("workspace/l", LINK, link="/usr/../proc/1/root")), "leaves the workspace"),
    "empty link": (whole(ROOT, entry("workspace/l", LINK)), "leaves the workspace"),
    "file through a link": (
        whole(ROOT, entry("workspace/l", LINK, link="/usr"), entry("workspace/l/bin", content=b"x")),
        "no folder",
    ),
    "link instead of a folder": (whole(ROOT, FOLDER, entry("workspace/d", LINK, link="/usr")), "twice"),
    "file instead of a link": (
        whole(ROOT, entry("workspace/l", LINK, link="/usr"), entry("workspace/l", content=b"x")),
        "twice",
    ),
    "hard link out": (whole(ROOT, entry("workspace/h", HARD, link="/etc/shadow")), "hard link"),
    "hard link up": (whole(ROOT, entry("workspace/h", HARD, link="workspace/../etc/shadow")), "hard link"),
    "hard link to nothing": (whole(ROOT, entry("workspace/h", HARD, link="workspace/none")), "hard link"),
    "hard link to a link": (
        whole(ROOT, entry("workspace/l", LINK, link="/usr"), entry("workspace/h", HARD, link="workspace/l")),
        "hard link",
    ),
    "hard link to a folder": (whole(ROOT, FOLDER, entry("workspace/h", HARD, link="workspace/d")), "hard link"),
    "folder missing": (whole(ROOT, entry("workspace/none/f", content=b"x")), "no folder"),
    "bomb": (whole(ROOT, entry("workspace/zeros", content=bytes(9 * 1024 * 1024))), "unpacks to more than 8 MiB"),
    "bomb after the end": (gzip.compress(packed(manifest(), ROOT) + bytes(9 * 1024 * 1024)), "unpacks to more"),
    "too many": (whole(ROOT, *(entry(f"workspace/{n}") for n in range(60))), "more than 50 entries"),
    "long header": (whole(ROOT, entry("workspace/f", pax_headers={"comment": "x" * 100_000})), "header"),
    "header for all": (
        gzip.compress(packed(manifest())[:1024] + packed(entry("g", tarfile.XGLTYPE))),
        "header",
    ),
    "negative size": (whole(ROOT, entry("workspace/f", pax_headers={"size": "-512"})), "damaged|neither"),
    "garbage inside": (
        gzip.compress(packed(manifest(), ROOT)[:1536] + random.Random(1).randbytes(4096) + bytes(1024)),
        "damaged",
    ),
    "no end": (gzip.compress(packed(manifest(), ROOT, FILE).rstrip(b"\0").ljust(3072, b"\0")[:3072]), "damaged"),
    "cut": (whole(ROOT, entry("workspace/f", content=random.Random(2).randbytes(90_000)))[:60_000], "damaged"),
    "cut in the last byte": (whole(ROOT, FILE)[:-1], "damaged"),
    "changed": ((lambda data: data[:-8] + b"\1\2\3\4" + data[-4:])(whole(ROOT, FILE)), "damaged"),
}


def unpacked(path: Path, keep: Callable[[str], bool] = lambda path: True) -> bytes:
    return b"".join(parcel.read(path, keep=keep, most_bytes=8 * 1024**2, most_entries=50))


@pytest.mark.attacks(20)
@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_file_is_refused_with_the_reason(case: str, tmp_path: Path) -> None:
    content, words = REFUSED[case]
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=words) as refused:
        unpacked(path)
    assert refused.value.field == "file"
    assert len(str(refused.value)) < 400


def test_what_is_accepted_is_made_harmless(tmp_path: Path) -> None:
    path = tmp_path / "file"
    capability = {"SCHILY.xattr.security.capability": "x", "SCHILY.acl.access": "x"}
    path.write_bytes(
        whole(
            entry("workspace", tarfile.DIRTYPE, mode=0o1777, uid=0, gid=0, uname="root"),
            entry("workspace/su", content=b"#!", mode=0o6755, uid=0, gid=0, uname="root", pax_headers=capability),
            entry("workspace/again", HARD, link="workspace/su"),
            entry("workspace/python", LINK, link="/usr/bin/python3"),
            entry("workspace/here", LINK, link="./su"),
            entry("workspace/future", content=b"", mtime=10**14),
            entry("workspace/secret", content=b"x"),
            entry("workspace/secret2", HARD, link="workspace/secret"),
        )
    )
    with tarfile.open(fileobj=io.BytesIO(unpacked(path, lambda path: path != "secret"))) as tar:
        found = {member.name: member for member in tar}
    assert set(found) == {"home/node", *(f"home/node/{name}" for name in ("su", "again", "python", "here", "future"))}
    assert {(each.uid, each.gid, each.uname, each.mode & 0o7000) for each in found.values()} == {(1000, 1000, "", 0)}
    assert found["home/node/again"].linkname == "home/node/su"
    assert not any("xattr" in key or "acl" in key for each in found.values() for key in each.pax_headers)
    assert found["home/node/future"].mtime <= 2**33


def test_an_entry_of_any_size_is_read_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(whole(ROOT, entry("workspace/f", content=bytes(5 * 1024**2))))
    pieces = [len(piece) for piece in parcel.read(path, keep=lambda path: True, most_bytes=2**30)]
    assert max(pieces) <= 2 * tape.PIECE
    assert sum(pieces) > 5 * 1024**2


@pytest.mark.docker
@pytest.mark.attacks(20)
@pytest.mark.parametrize("case", ["file through a link", "bomb", "cut", "hard link out"])
async def test_nothing_of_a_refused_file_becomes_a_workspace(case: str, place: Place, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(REFUSED[case][0])
    with pytest.raises(BadInput, match=REFUSED[case][1]):
        await archive(place).read_file(path, ("r1", 1), keep=lambda path: True, most_bytes=8 * 1024**2)
    assert await workspaces.carriers(place) == []
    assert not await volumes.exists(place.engine, place.install_id, "r1", 0)


@pytest.mark.docker
async def test_the_engine_unpacks_what_is_accepted(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(
        whole(
            ROOT,
            entry("workspace/su", content=b"#!", mode=0o6755, uid=0),
            entry("workspace/d", FOLDER_TYPE, mode=0o2750),
        )
    )
    await archive(place).read_file(path, ("r1", 1), keep=lambda path: True, most_bytes=8 * 1024**2)
    assert await inside(place, "r1", 1, "stat -c '%n %a %u %g' su d .") == (
        "su 755 1000 1000\nd 750 1000 1000\n. 744 1000 1000\n"
    )
    assert names.volume(place.install_id, "r1", 1).endswith("-1")

"""`clawloops support`: an archive that tells somebody who helps how this box stands, and nothing of who works on it.

Left out: everything that members wrote or keep, and every secret. Members, their e-mail addresses and their workspaces'
addresses stand under other names, addresses of the internet under none.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import platform
import re
import sys
import tarfile
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, fields
from importlib import metadata
from io import BytesIO
from pathlib import Path

from clawloops import __version__, doctor, ground, log
from clawloops.config import Settings
from clawloops.errors import ClawLoopsError, SetupError
from clawloops.model.account import User
from clawloops.model.runtime import Runtime, View
from clawloops.runtimes import parts
from clawloops.runtimes.client import Engine
from clawloops.store import audit, users
from clawloops.store import runtimes as rows

FOLDER = "clawloops-support"
_LINES = 4000  # of the log
_ENTRIES = 500  # of the audit
_LONGEST = 2 << 20  # characters of one file in the archive
_README = """\
What this is: how one install of ClawLoops stands, for somebody who helps with it. Made by `clawloops support`.

versions.json    programs and their versions
doctor.json      what `clawloops doctor` finds
settings.json    the settings; secrets are in files that are not here
workspaces.json  what is wanted of each workspace, and what came of it
containers.json  the containers of this install
audit.json       kinds of what was done, and when; not to what
clawloops.log    the last lines that the control plane has written

Members are called member-1, member-2, …, their workspaces workspace-1, …; both by the same number in every file.
Secrets read [secret], e-mail addresses [e-mail], addresses of the internet [address].
Look through it before you hand it on: the host name of the box, and names of models and backends, are in it.
"""
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\w)")
_IPV6 = re.compile(r"(?<![\w:.])[0-9a-fA-F:.]{2,45}(?!\w)")  # bounded: a log holds what strangers have sent
_SHORTEST = 3  # characters of a part of a name: less stands in ordinary words


class Veil:
    """Puts other names in the place of people's and their workspaces', and masks secrets and addresses."""

    def __init__(self, people: Iterable[User], runtimes: Iterable[Runtime]) -> None:
        self._people = {each.id: f"member-{number}" for number, each in enumerate(people, start=1)}
        named: dict[str, str] = {}
        for each in people:
            words = [word for word in re.split(r"\W+", each.name) if len(word) >= _SHORTEST]
            named |= {word.lower(): self._people[each.id] for word in (each.login, each.name, *words) if word}
        for number, runtime in enumerate(runtimes, start=1):
            named[runtime.slug.lower()] = f"workspace-{number}"
        self._named = named
        longest_first = sorted(map(re.escape, named), key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![^\W_])(?:{'|'.join(longest_first)})(?![^\W_])", re.I) if named else None

    def who(self, user_id: str | None) -> str:
        return self._people.get(user_id or "", "nobody")

    def within(self, told: object) -> object:
        """The same with each text in it as it may be handed on: before it is written down, which may spell it anew."""
        match told:
            case str():
                return self.over(told)
            case dict():
                return {name: self.within(value) for name, value in told.items()}
            case list():
                return [self.within(each) for each in told]
            case _:
                return told

    def over(self, text: str) -> str:
        """The text as it may be handed on."""
        text = _EMAIL.sub("[e-mail]", log.redactor.scrub(text))
        if self._pattern is not None:
            text = self._pattern.sub(lambda found: self._named[found[0].lower()], text)
        return _IPV6.sub(_unplaced, _IPV4.sub(_unplaced, text))


def _unplaced(found: re.Match[str]) -> str:
    for text in (found[0], found[0][:-1]):  # a sentence may end behind it
        with contextlib.suppress(ValueError):  # a time of day, a version
            return "[address]" + found[0][len(text) :] if ipaddress.ip_address(text).is_global else found[0]
    return found[0]


async def run(settings: Settings) -> None:
    """Write the archive to standard output. Raises SetupError when that is a terminal."""
    if sys.stdout.isatty():
        raise SetupError(
            "this writes an archive; send it into a file: "
            "docker compose exec -T clawloops clawloops support > support.tar.gz"
        )
    made = await bundle(settings)
    await asyncio.to_thread(sys.stdout.buffer.write, made)
    async with ground.store(settings) as db:
        await (await ground.open_audit(db, settings)).record(None, "support bundle made", "the box", "from the shell")


async def bundle(settings: Settings, *, views: Sequence[View] = ()) -> bytes:
    """The archive: tar, gzipped. A part that cannot be told of says why; nothing of that keeps the rest back.

    `views`: how workspaces stand, where the control plane itself makes it.
    """
    try:
        async with ground.store(settings) as db:
            people, runtimes = await users.all(db), await rows.all(db)
            entries = await audit.latest(db, _ENTRIES)
    except ClawLoopsError as error:
        # Whose names are to be left out is not known, so nothing is told in which one may stand.
        told = {"versions.json": await _told(lambda: _versions(settings)), "database.json": str(type(error).__name__)}
        return await asyncio.to_thread(_packed, {name: _written(value) for name, value in told.items()})
    veil = Veil(people, runtimes)
    phases = {each.runtime_id: each for each in views}
    told = {
        "versions.json": await _told(lambda: _versions(settings)),
        "doctor.json": await _told(lambda: _findings(settings)),
        "settings.json": {each.name: str(getattr(settings, each.name)) for each in fields(settings)},
        "workspaces.json": [_workspace(each, phases.get(each.id), veil) for each in runtimes[:_ENTRIES]],
        "containers.json": await _told(lambda: _containers(settings)),
        "audit.json": [{"at": each.at, "by": veil.who(each.actor), "action": each.action} for each in entries],
    }

    def pack() -> bytes:
        files = {name: _written(veil.within(value)) for name, value in told.items()}
        files["clawloops.log"] = veil.over(_last_lines(settings.data / "log"))
        return _packed(files)

    return await asyncio.to_thread(pack)


def _workspace(runtime: Runtime, view: View | None, veil: Veil) -> dict[str, object]:
    kept = ("id", "slug", "want", "sleep", "sleep_why", "policy", "size", "image", "pin", "failures", "failure")
    told: dict[str, object] = {name: str(getattr(runtime, name)) for name in kept}
    seen = {"phase": str(view.phase), "reason": view.reason} if view else {}
    return told | seen | {"owner": veil.who(runtime.owner)}


async def _told(ask: Callable[[], Awaitable[object]]) -> object:
    try:
        return await ask()
    except (ClawLoopsError, OSError) as error:
        return {"not told": str(error)}


async def _versions(settings: Settings) -> object:
    found: dict[str, object] = {
        "clawloops": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "packages": {each.name: each.version for each in metadata.distributions()},
    }
    engine = Engine(settings.engine)
    try:
        told = await engine.call(lambda api: api.version())
        found["engine"] = {name: told.get(name) for name in ("Version", "ApiVersion", "Os", "Arch", "KernelVersion")}
    except ClawLoopsError as error:
        found["engine"] = str(error)
    finally:
        engine.close()
    return found


async def _findings(settings: Settings) -> object:
    return [{"part": each.part, "why": each.why} async for each in doctor.look(settings)]


async def _containers(settings: Settings) -> object:
    engine = Engine(settings.engine)
    try:
        return [asdict(each) for each in await parts.all(engine, settings.install_id)]
    finally:
        engine.close()


def _last_lines(folder: Path) -> str:
    lines: list[str] = []
    for name in (f"{log.FILE}.1", log.FILE):
        try:
            lines += (folder / name).read_text(errors="replace").splitlines()
        except OSError:  # none yet
            continue
    return "\n".join([*lines[-_LINES:], ""])


def _written(told: object) -> str:
    return json.dumps(told, indent=1, ensure_ascii=False, default=str) + "\n"


def _packed(files: dict[str, str]) -> bytes:
    """gzip, at most _LONGEST characters of each file: of the log its end."""
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in {"README.txt": _README, **files}.items():
            kept = text[-_LONGEST:] if name.endswith(".log") else text[:_LONGEST]
            data = kept.encode(errors="replace")
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            archive.addfile(entry, BytesIO(data))
    return packed.getvalue()

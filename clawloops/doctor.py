"""Looks at every part of a running box and says, line by line, what is well and what to do about the rest."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from clawloops import ground
from clawloops.clock import now_ms
from clawloops.config import Settings
from clawloops.errors import ClawLoopsError
from clawloops.model.backup import Reason
from clawloops.model.certificate import Tls
from clawloops.model.checkup import Finding, Remedy
from clawloops.model.report import DAY_MS
from clawloops.model.runtime import Runtime, Want
from clawloops.orchestrator.canary import self_test
from clawloops.orchestrator.phase import GIVE_UP_AFTER
from clawloops.orchestrator.surroundings import Surroundings
from clawloops.orchestrator.walls import Verdict
from clawloops.runtimes import images, names, networks, parts, sandboxes
from clawloops.runtimes.client import Engine
from clawloops.runtimes.seen import Network
from clawloops.store import backups, decoys, volumes
from clawloops.store import runtimes as rows
from clawloops.store.migrate import migrated_at

LOW_DISK_BYTES = 2 * 1024**3
LATE_MS = 3 * DAY_MS
WAIT_S = 5


@dataclass(frozen=True, slots=True)
class Trouble:
    why: str  # what is wrong, and what to do
    remedy: Remedy | None = None


Check = Callable[[Settings], Awaitable[Trouble | None]]


async def examine(settings: Settings) -> int:
    """Print one line for each check. Returns 0 when all are well, 1 otherwise."""
    failed = 0
    async for each in look(settings):
        failed += bool(each.why)
        print(f"FAIL  {each.part}: {each.why}" if each.why else f"ok    {each.part}", flush=True)
    return 1 if failed else 0


async def look(settings: Settings, only: str = "") -> AsyncIterator[Finding]:
    """Look at one part after the other; `only`: at that part alone."""
    for name, check in _checks(settings):
        if only in ("", name):
            try:
                trouble = await check(settings)
            except ClawLoopsError as error:
                trouble = Trouble(str(error))
            yield Finding(name, trouble.why, trouble.remedy) if trouble else Finding(name)


def _checks(settings: Settings) -> list[tuple[str, Check]]:
    def answers(url: str, path: str, see: str, remedy: Remedy | None = None) -> Check:
        return lambda _: _answers(url, path, f"docker compose logs {see}", remedy)

    own = f"http://{settings.listen}"
    return [
        ("disk", _disk),
        ("database and master key", _store),
        ("audit", _audit),
        ("backups", _backups),
        (f"Docker Engine, OpenClaw image, {settings.sandbox}", _engine),
        ("parts of the appliance", _parts),
        ("walls around workspaces", _walls),
        ("networks of workspaces", _networks),
        ("workspaces", _workspaces),
        ("decoy keys", _decoys),
        ("workspace addresses", _names),
        ("certificate", _certificate),
        ("Ollama", answers(settings.ollama_url, "/api/version", "ollama", Remedy.RESTART_OLLAMA)),
        ("LiteLLM", answers(settings.litellm_url, "/health/liveliness", "litellm", Remedy.RESTART_LITELLM)),
        ("control plane", answers(own, "/healthz", "clawloops")),
    ]


@asynccontextmanager
async def _docker(settings: Settings) -> AsyncIterator[Engine]:
    engine = Engine(settings.engine)
    try:
        yield engine
    finally:
        engine.close()


async def _disk(settings: Settings) -> Trouble | None:
    free = shutil.disk_usage(settings.data).free
    if free >= LOW_DISK_BYTES:
        return None
    why = f"only {free // 1024**2} MiB are free under {settings.data}, of 2 GiB (docker system df shows what uses it)"
    old = await unused_images(settings)
    if not old:
        return Trouble(why)
    return Trouble(f"{why}. {len(old)} older images of OpenClaw are used by nobody", Remedy.REMOVE_IMAGES)


async def unused_images(settings: Settings) -> list[str]:
    """Tags of OpenClaw's images that no workspace, snapshot or way back needs. Raises ClawLoopsError."""
    async with ground.store(settings) as db:
        kept = await volumes.images(db) | {
            image for each in await rows.all(db) for image in (each.image, each.pin, each.before_image)
        }
    async with _docker(settings) as engine:
        return await images.unused(engine, settings.install, kept - {""})


async def _store(settings: Settings) -> Trouble | None:
    async with ground.store(settings) as db:
        await ground.open_seal(db, settings)
    return None


async def _audit(settings: Settings) -> Trouble | None:
    async with ground.store(settings) as db:
        found = await (await ground.open_audit(db, settings)).verify()
    return Trouble(f"entry {found.seq}: {found.why}; see: clawloops audit verify") if found.why else None


async def _backups(settings: Settings) -> Trouble | None:
    """Of SQLite alone: nobody here knows when PostgreSQL was backed up last."""
    async with ground.store(settings) as db:
        if db.dialect != "sqlite" or now_ms() - await migrated_at(db) < LATE_MS:
            return None
    found = await backups.every(settings.data / "backups")
    if any(now_ms() - each.made_at < LATE_MS and each.reason is not Reason.RESTORE for each in found):
        return None
    return Trouble(
        "no backup was made for three days, though one is due each day; see: docker compose logs clawloops",
        Remedy.MAKE_BACKUP,
    )


async def _engine(settings: Settings) -> Trouble | None:
    async with _docker(settings) as engine:
        if not await images.present(engine, settings.openclaw_image):
            return Trouble(f"the image {settings.openclaw_image} is not there; run ./install.sh, which makes it")
        return None if await sandboxes.present(engine, settings.sandbox) else Trouble(sandboxes.MISSING)


async def _parts(settings: Settings) -> Trouble | None:
    """Whoever stops a container by hand stops it for good: `restart: always` leaves it so."""
    async with _docker(settings) as engine:
        found = await parts.down(engine, settings.install_id)
    if not found:
        return None
    commands = ", ".join(f"docker compose up -d {each}" for each in found)
    remedy = Remedy.START_PARTS if parts.RESTARTED & set(found) else None
    return Trouble(f"down: {', '.join(found)}; to start: {commands}", remedy)


async def _walls(settings: Settings) -> Trouble | None:
    """Asks the canary that the running control plane keeps."""
    around = Surroundings(install=settings.install, pool=settings.runtime_pool, hosts=settings.own_addresses)
    async with ground.store(settings) as db:
        members = await rows.subnets(db)
    found = await self_test(around, asyncio.open_connection, members)
    if found.verdict is Verdict.CLOSED:
        return None
    # A wall that is open is no canary's fault, and is no better with another one.
    remedy = Remedy.REMAKE_CANARY if found.verdict is Verdict.UNTESTED else None
    return Trouble(f"{found.verdict}: {found.why}; see Box on the dashboard", remedy)


async def _networks(settings: Settings) -> Trouble | None:
    wrong = [(runtime, network) async for runtime, network in wrong_networks(settings)]
    if not wrong:
        return None
    for runtime, network in wrong:
        if not network.ours:
            name = names.network(settings.install_id, runtime.id)
            return Trouble(
                f"the network {name} is not ours, and its workspace cannot have its own; look at it with "
                f"docker network inspect {name}, and remove it with docker network rm {name}"
            )
    name = names.network(settings.install_id, wrong[0][0].id)
    return Trouble(
        f"the network {name} is not as we make it; see docker network inspect {name}", Remedy.REMAKE_NETWORKS
    )


async def wrong_networks(settings: Settings) -> AsyncIterator[tuple[Runtime, Network]]:
    """Members' networks that are not as we make them. Raises ClawLoopsError."""
    async with ground.store(settings) as db:
        runtimes = await rows.all(db)
    async with _docker(settings) as engine:
        for each in runtimes:
            seen = await networks.seen(engine, settings.install_id, each.id, subnet=each.subnet, edge=settings.edge)
            if seen is not None and not (seen.ours and seen.exact):
                yield each, seen


async def _workspaces(settings: Settings) -> Trouble | None:
    found = await stuck(settings)
    if not found:
        return None
    slugs = ", ".join(each.slug for each in found)
    return Trouble(f"not started: {slugs}, because {found[0].failure}; it is tried again by itself, ever less often",
                   Remedy.START_WORKSPACES)  # fmt: skip


async def stuck(settings: Settings) -> list[Runtime]:
    """Workspaces whose start has failed too often in a row to be tried at once. Raises ClawLoopsError."""
    async with ground.store(settings) as db:
        wanted = [each for each in await rows.all(db) if each.want is Want.RUNNING]
    return [each for each in wanted if each.failures >= GIVE_UP_AFTER]


async def _decoys(settings: Settings) -> Trouble | None:
    async with ground.store(settings) as db:
        used = {use.runtime_id for use in await decoys.all(db)}
        slugs = [each.slug for each in await rows.all(db) if each.id in used]
    if not used:
        return None
    whose = ", ".join(slugs) or "a workspace that is no more"
    return Trouble(f"somebody has used the decoy key of {whose}; see Box on the dashboard")


async def _names(settings: Settings) -> Trouble | None:
    """Browsers resolve *.localhost by themselves (RFC 6761); any other name needs a DNS record."""
    if settings.base.endswith("localhost"):
        return None
    host = f"x.ws.{settings.base}"
    try:
        await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        base = settings.base
        return Trouble(
            f"nothing resolves {host}; add the DNS records  {base} A <this box>  and  *.ws.{base} A <this box>"
        )
    return None


async def _certificate(settings: Settings) -> Trouble | None:
    """Traefik asks an ACME server again when it is started anew, else a day later at the earliest."""
    standing = await ground.certificates_of(settings).look()
    if standing.tls is Tls.NONE or (standing.is_well and not standing.problem):
        return None
    see = "traefik" if standing.tls.is_acme else "certificates"
    why = standing.problem or f"nothing is written down about why; look at: docker compose logs {see}"
    if standing.tls.is_acme:
        return Trouble(f"{standing.text}: {why}", Remedy.RESTART_TRAEFIK)
    # A keeper that says what is wrong is at its work, and needs a person; one that says nothing has to start anew.
    return Trouble(f"{standing.text}: {why}", None if standing.problem else Remedy.RESTART_CERTIFICATES)


async def _answers(url: str, path: str, see: str, remedy: Remedy | None) -> Trouble | None:
    if not url:
        return None
    try:
        timeout = aiohttp.ClientTimeout(total=WAIT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url + path) as answer:
            return (
                None if answer.status < 500 else Trouble(f"status {answer.status} from {url}; look at: {see}", remedy)
            )
    except (aiohttp.ClientError, TimeoutError, OSError):
        return Trouble(f"no answer from {url}; look at: {see}", remedy)

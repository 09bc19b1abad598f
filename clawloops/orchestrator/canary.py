"""The standing self-test: asks the canary what it reaches, at boot and then each minute, and judges what it says."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from clawloops.clock import now_ms
from clawloops.errors import ClawLoopsError, Unavailable
from clawloops.orchestrator.surroundings import OUTSIDE_NAME, Attempt, Expected, Surroundings
from clawloops.orchestrator.walls import Finding, Verdict, Walls
from clawloops.runtimes import canary, names
from clawloops.runtimes.client import Engine
from clawloops.runtimes.images import Images
from clawloops.runtimes.spec import PORT
from clawloops.store import runtimes as rows
from clawloops.store.db import Database

_log = logging.getLogger(__name__)

EVERY_S = 60.0
SOON_S = 10.0  # until the next test while anybody is held, or when the last one could not be made
ANSWERS_WITHIN_S = 15.0
STARTS_WITHIN_S = 5.0
_LONGEST = 1 << 16  # bytes of an answer

Dial = Callable[[str, int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
"""Connects from the edge's network namespace to an address and a port. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Said:
    """The canary's answer."""

    outcomes: Mapping[tuple[str, int], str]  # address and port: open, refused or silent
    resolved: bool  # it got an address for a name of the world outside
    ipv6: Sequence[str]  # IPv6 addresses that it has


async def ask(dial: Dial, address: str, attempts: Sequence[Attempt]) -> Said:
    """What the canary at `address` reaches of these now. Raises Unavailable."""
    lines = [f"tcp {each.address} {each.port}" for each in attempts]
    question = "\n".join([*lines, f"name {OUTSIDE_NAME}", "", ""]).encode()
    try:
        async with asyncio.timeout(ANSWERS_WITHIN_S):
            reader, writer = await _connected(dial, address)
            try:
                writer.write(question)
                answer = b""
                while len(answer) < _LONGEST and (piece := await reader.read(_LONGEST)):
                    answer += piece
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise Unavailable("the canary does not answer") from error
    return understood(answer)


async def _connected(dial: Dial, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """One that was just started needs a moment."""
    until = asyncio.get_running_loop().time() + STARTS_WITHIN_S
    while True:
        try:
            return await dial(address, PORT)
        except OSError:
            if asyncio.get_running_loop().time() > until:
                raise
            await asyncio.sleep(0.1)


def understood(answer: bytes) -> Said:
    """Read an answer (the format is that of clawloops/runtimes/canary.pl). Raises Unavailable."""
    outcomes: dict[tuple[str, int], str] = {}
    resolved, ipv6, ended = False, [], False
    for line in answer.decode("ascii", "replace").splitlines():
        match line.split(" "):
            case ["tcp", address, port, ("open" | "refused" | "silent") as outcome]:
                outcomes[address, int(port)] = outcome
            case ["name", _, outcome]:
                resolved = outcome == "answered"
            case ["ipv6", address, interface]:
                ipv6.append(f"{ipaddress.IPv6Address(int(address, 16))} on {interface}")
            case ["end"]:
                ended = True
    if not ended:
        raise Unavailable("the canary's answer breaks off")
    return Said(outcomes, resolved, ipv6)


def judge(attempts: Sequence[Attempt], said: Said) -> list[str]:
    """The holes, in words; [] when every wall is closed. Raises Unavailable when finding none proves nothing.

    Each kind of hole is told once, by the first place at which it was found.
    """
    found: dict[str, str] = {}
    unproven = ""
    for attempt in attempts:
        outcome = said.outcomes.get((attempt.address, attempt.port))
        match attempt.expected:
            case _ if outcome is None:
                unproven = f"the canary says nothing of {attempt}"
            case Expected.ANSWER if outcome != "open":
                unproven = f"the canary does not even reach {attempt}, so its test proves nothing"
            case Expected.SILENCE if outcome != "silent":
                found.setdefault(attempt.what, str(attempt))
            case Expected.REFUSAL if outcome == "open":
                found.setdefault(attempt.what, str(attempt))
            case _:
                pass
    if said.resolved:
        found["names"] = f"names of the internet ({OUTSIDE_NAME})"
    if said.ipv6:
        found["ipv6"] = f"IPv6 ({said.ipv6[0]})"
    if unproven and not found:
        raise Unavailable(unproven)
    return list(found.values())


def _forwards(interfaces: Sequence[str]) -> list[str]:
    if not interfaces:
        return []
    return [
        f"the edge passes packets on from one network to another (net.ipv4.conf.{interfaces[0]}.forwarding is not 0; "
        "docker compose up -d --force-recreate edge makes it new)"
    ]


async def self_test(surroundings: Surroundings, dial: Dial, members: Collection[str]) -> Finding:
    """One test, with a second one to be sure when the first finds anything. Never raises what we understand.

    `members`: subnets of all runtimes. The canary has to be there.
    """
    address = names.addresses(surroundings.subnet).runtime
    found: list[str] = []
    try:
        found = _forwards(await asyncio.to_thread(surroundings.forwarding))
        attempts = await surroundings.attempts(members)
        reached = judge(attempts, await ask(dial, address, attempts))
        if reached:
            reached = judge(attempts, await ask(dial, address, attempts))
    except (ClawLoopsError, OSError, ValueError) as error:
        if not found:
            return Finding(Verdict.UNTESTED, str(error), now_ms())
        reached = []
    if reached:
        found.append(f"from a workspace's network there is a way to {', '.join(reached)}")
    return Finding(Verdict.OPEN, "; ".join(found), now_ms()) if found else Finding(Verdict.CLOSED, "", now_ms())


class Watch:
    """Keeps the canary, and tells the walls what it says. `wake_all`: look at every runtime."""

    def __init__(
        self,
        db: Database,
        engine: Engine,
        walls: Walls,
        surroundings: Surroundings,
        *,
        wake_all: Callable[[], None],
        dial: Dial = asyncio.open_connection,
    ) -> None:
        self._db = db
        self._engine = engine
        self._images = Images(engine)
        self._walls = walls
        self._surroundings = surroundings
        self._wake_all = wake_all
        self._dial = dial
        self._testing = asyncio.Lock()
        walls.expect()

    async def run(self) -> None:
        """Endless."""
        while True:
            finding = await self._take()
            settled = finding.verdict is Verdict.CLOSED and not self._walls.all_held
            await asyncio.sleep(EVERY_S if settled else SOON_S)

    async def remake(self) -> None:
        """Make the canary anew, whatever it looks like, and test at once."""
        await self._take(anew=True)

    async def _take(self, *, anew: bool = False) -> Finding:
        async with self._testing:
            finding = await self._round(anew=anew)
            if self._walls.tested(finding):
                self._wake_all()
        return finding

    async def _round(self, *, anew: bool) -> Finding:
        try:
            trouble = await self._kept(anew=anew)
            finding = await self_test(self._surroundings, self._dial, await rows.subnets(self._db))
        except Exception as error:  # noqa: BLE001  # a watch that ends watches nothing: tell, and go on
            _log.exception("self-test of the isolation")
            return Finding(Verdict.UNTESTED, f"{error} (the log of clawloops has it)", now_ms())
        if finding.verdict is Verdict.UNTESTED and trouble:
            return Finding(Verdict.UNTESTED, trouble, finding.at)
        return finding

    async def _kept(self, *, anew: bool) -> str:
        """See that the canary is there. Returns what is in the way, which leaves the one that is there at its work."""
        try:
            around, anew = self._surroundings, anew or self._walls.last.verdict is Verdict.UNTESTED
            await canary.keep(self._engine, self._images, around.install, around.subnet, anew=anew)
        except ClawLoopsError as error:
            _log.warning("the canary: %s", error)
            return str(error)
        return ""

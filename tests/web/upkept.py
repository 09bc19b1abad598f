"""The upkeep of a box without Docker: what is found is put in by a test; the archive is made by the real code."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clawloops import support
from clawloops.clock import now_ms
from clawloops.config import Settings, load
from clawloops.control.audit import Audit
from clawloops.control.upkeep import Upkeep
from clawloops.errors import Unavailable
from clawloops.model.account import User
from clawloops.model.backup import Reason, name_of
from clawloops.model.checkup import Finding, Remedy
from clawloops.model.gauge import Card, Disk, Graphics, Moment, Process, Share, Usage
from clawloops.model.report import DAY_MS
from clawloops.orchestrator.gauges import KEPT, Gauges

if TYPE_CHECKING:
    from tests.web.box import Box


@dataclass
class Kept:
    """What the next look finds, and what each remedy does: it helps, but for those in `in_vain`."""

    findings: dict[str, Finding] = field(default_factory=dict)
    in_vain: dict[Remedy, str] = field(default_factory=dict)
    used: list[tuple[Remedy, str]] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)

    def find(self, part: str, why: str = "", remedy: Remedy | None = None) -> None:
        self.findings[part] = Finding(part, why, remedy)

    async def examine(self, only: str) -> Sequence[Finding]:
        return [each for each in self.findings.values() if only in ("", each.part)]

    async def use(self, remedy: Remedy, by: User) -> None:
        self.used.append((remedy, by.id))
        if remedy in self.in_vain:
            raise Unavailable(self.in_vain[remedy])
        for each in [each for each in self.findings.values() if each.remedy is remedy]:
            self.find(each.part)

    async def measure(self, only: Collection[str] = ()) -> Sequence[Usage]:
        return [each for each in self.usages if not only or each.runtime_id in only]

    def gauges(self, folder: Path) -> Gauges:
        return Gauges(data=folder, measure=self.measure)

    def upkeep(self, folder: Path, audit: Audit, keep: Callable[[Coroutine[Any, Any, None]], None]) -> Upkeep:
        def use(remedy: Remedy) -> Callable[[User], Coroutine[Any, Any, None]]:
            return lambda by: self.use(remedy, by)

        return Upkeep(
            audit,
            examine=self.examine,
            remedies={each: use(each) for each in Remedy},
            bundle=lambda: support.bundle(settings(folder)),
            keep=keep,
        )


def at_work(gauges: Gauges, runtimes: Sequence[str]) -> None:
    """Ten minutes of a box with two graphics cards, many containers, and a disk that fills up."""
    gib = 1 << 30
    for number in range(KEPT):
        busy = 0.35 + 0.25 * math.sin(number / 9) + 0.1 * math.sin(number)
        used = int(38 * gib + 6 * gib * math.sin(number / 25))
        gauges.history.append(Moment(now_ms(), busy, 16, 5.4, 64 * gib, used, 8 * gib, gib))
    gauges.disks = [Disk("Data of ClawLoops", 480 * gib, 210 * gib), Disk("Data of Docker", 900 * gib, 38 * gib)]
    processes = (Process(41_233, 14 * gib), Process(51_002, None))
    first = Card("NVIDIA GeForce RTX 4090", 24 * gib, 15 * gib, 87, 71, processes)
    gauges.graphics = Graphics((first, Card("NVIDIA RTX A2000", 12 * gib, 0, 0, None, ())), "580.65.06")
    usages = [
        ("ollama", "", 9 * gib),
        ("clawloops", "", gib // 9),
        ("traefik", "", gib // 14),
        ("", "canary", gib // 60),
    ]
    usages += [("", each, gib - 40_000_000 * number) for number, each in enumerate([*runtimes, *map(str, range(20))])]
    shares = []
    for number, (part, whose, memory) in enumerate(sorted(usages, key=lambda each: -each[2])):
        name = f"clawloops-0-u-{whose}"
        usage = Usage(f"c{number}", name, whose, part, "clawloops/openclaw:2", "running", 0, memory, 0)
        shares.append(Share(usage, None if number == 3 else 1.5 / (number + 1)))
    gauges.shares = shares


async def in_trouble(box: Box, by: User) -> None:
    """Four parts need attention: two need a person, one was put right, and one could not be."""
    box.kept.find("disk", "only 812 MiB are free under /srv, of 2 GiB (docker system df shows what uses it)")
    records = "team.example A <this box>  and  *.ws.team.example A <this box>"
    box.kept.find("workspace addresses", f"nothing resolves x.ws.team.example; add the DNS records  {records}")
    for part, remedy in (("Ollama", Remedy.RESTART_OLLAMA), ("LiteLLM", Remedy.RESTART_LITELLM)):
        box.kept.find(
            part, f"no answer from http://{part.lower()}; look at: docker compose logs {part.lower()}", remedy
        )
    for part in ("audit", "certificate", "control plane"):
        box.kept.find(part)
    box.kept.in_vain[Remedy.RESTART_LITELLM] = (
        "there is no container of litellm on this host; run ./install.sh, which makes it"
    )
    others = set(box.keeping)  # a pull without end, for one
    box.upkeep.look(by=by)
    await box.settled(but=others)
    for remedy in (Remedy.RESTART_LITELLM, Remedy.RESTART_OLLAMA):
        await box.upkeep.use(remedy, by=by)
    await box.settled(but=others)


async def backed_up(box: Box, by: User) -> None:
    """One backup of each kind."""
    made, folder = await box.backups.make(by=by), box.backups._folder
    for reason, days in ((Reason.DAILY, 1), (Reason.DAILY, 2), (Reason.UPGRADE, 9), (Reason.RESTORE, 30)):
        older = folder / name_of("clawloops", reason, made.made_at - days * DAY_MS, schema=18)
        older.write_bytes(bytes(made.size))


def settings(folder: Path) -> Settings:
    """Of a box in this folder that has no Docker."""
    given = {"INSTALL_ID": "0" * 8, "DATA": str(folder), "ENGINE": f"unix://{folder}/no.sock", "BASE": "box.localhost"}
    return load({f"CLAWLOOPS_{name}": value for name, value in given.items()})

"""Idle runtimes sleep, and wake on anything: real Docker, the stand-in runtime with OpenClaw's own answers."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from dataclasses import replace
from pathlib import Path

import pytest

from clawloops.clock import now_ms, steady_ms
from clawloops.control.audit import Audit
from clawloops.control.runtimes import CONSOLE, Runtimes
from clawloops.model.runtime import Phase, Policy, Runtime, Sleep, Want
from clawloops.orchestrator import activity
from clawloops.orchestrator import sleep as sleeps
from clawloops.orchestrator.admission import Box, Gate, look
from clawloops.orchestrator.ask import Control, Ready
from clawloops.orchestrator.doze import Doze
from clawloops.orchestrator.sleep import Rules, alarm, due, worth_it
from clawloops.store import events
from clawloops.store import runtimes as rows
from tests.standin.place import Place

NOW = 1_800_000_000_000
RULES = Rules(pause_after_ms=900_000, stop_after_ms=3_600_000)
AT_ONCE = Rules(pause_after_ms=0, stop_after_ms=10**12)


def _row(**changes: object) -> Runtime:
    made = Runtime("r1", "u1", "slug", Want.RUNNING, "10.0.0.0/29", 1, b"h" * 32, 1, 0, "", 0, 0)
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "idle_ms", "paused_ms", "pressed", "tier"),
    [
        (_row(), 899_999, 0, False, None),
        (_row(), 900_000, 0, False, Sleep.PAUSED),
        (_row(policy=Policy.ALWAYS_ON), 10**9, 0, True, None),
        (_row(sleep=Sleep.PAUSED), 10**9, 3_599_999, False, None),
        (_row(sleep=Sleep.PAUSED), 10**9, 3_600_000, False, Sleep.STOPPED),
        (_row(sleep=Sleep.PAUSED, policy=Policy.PAUSE), 10**9, 10**9, False, None),
        (_row(sleep=Sleep.PAUSED, policy=Policy.PAUSE), 10**9, 0, True, Sleep.STOPPED),
        (_row(), 0, 0, True, Sleep.STOPPED),
        (_row(sleep=Sleep.PAUSED, wake_at=NOW + 120_000), 10**9, 10**9, False, None),
        (_row(sleep=Sleep.STOPPED), 10**9, 10**9, True, None),
    ],
)
def test_how_deep_an_idle_runtime_sleeps(
    row: Runtime, idle_ms: int, paused_ms: int, *, pressed: bool, tier: Sleep | None
) -> None:
    assert due(row, RULES, idle_ms=idle_ms, paused_ms=paused_ms, now=NOW, pressed=pressed) is tier


def test_a_sleep_before_a_scheduled_job_is_long_enough_or_does_not_begin() -> None:
    assert not worth_it(_row(), Sleep.PAUSED, now=NOW, next_job=NOW + 60_000)
    assert worth_it(_row(), Sleep.PAUSED, now=NOW, next_job=NOW + 75_000)
    assert not worth_it(_row(), Sleep.STOPPED, now=NOW, next_job=NOW + 75_000)
    assert worth_it(_row(), Sleep.STOPPED, now=NOW, next_job=None)
    assert alarm(_row(sleep=Sleep.PAUSED, wake_at=NOW)) == NOW - 10_000
    assert alarm(_row(sleep=Sleep.STOPPED, wake_at=NOW)) == NOW - 90_000
    assert alarm(_row(sleep=Sleep.PAUSED)) == alarm(_row(wake_at=NOW)) == 0


def test_starts_wait_their_turn_and_are_told_their_place() -> None:
    box = Box(memory_mb=8000, disk_mb=50_000, swap_mb=0)
    gate = Gate(lambda: box, slots=2)
    assert [gate.ask(each, memory_mb=2048) for each in "abcd"] == ["", "", *["others are starting first"] * 2]
    assert (gate.place("c"), gate.place("d"), gate.place("a")) == ((1, 2), (2, 2), None)
    gate.leave("a")
    assert gate.ask("d", memory_mb=2048), "the third was first"
    assert gate.ask("c", memory_mb=2048) == ""
    assert gate.place("d") == (1, 1)
    gate.leave("d")
    assert gate.queue() == []


def test_memory_that_booting_ones_have_not_taken_yet_is_not_free() -> None:
    box = Box(memory_mb=2600, disk_mb=50_000, swap_mb=0)
    gate = Gate(lambda: box, slots=8)
    assert gate.ask("a", memory_mb=2048) == ""
    assert gate.ask("b", memory_mb=2048) == ""
    assert "2600 MiB of memory left" in gate.ask("c", memory_mb=2048)
    assert gate.short_of_memory()
    gate.leave("a")
    assert gate.ask("c", memory_mb=2048) == ""
    assert "others" in gate.ask("e", memory_mb=64) or gate.place("e") == (1, 1)


def test_a_full_disk_is_named_and_starts_wait_for_it() -> None:
    gate = Gate(lambda: Box(memory_mb=8000, disk_mb=900, swap_mb=0), slots=2)
    assert "only 900 MiB left" in gate.ask("a", memory_mb=2048)


def test_the_box_is_read_from_the_kernel(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  24000000 kB\nMemAvailable:  2048000 kB\nSwapFree:  1024000 kB\nHugePages_Total: 0\n")
    box = look(tmp_path, meminfo)
    assert (box.memory_mb, box.swap_mb) == (2000, 1000)
    assert box.disk_mb > 0
    assert look(tmp_path).memory_mb > 0


class _Agrees(Control):
    """OpenClaw as it answers when it has nothing to do."""

    def __init__(self) -> None:  # no session: nothing here is asked over the network
        pass

    async def polling(self, address: str) -> tuple[str, ...]:
        return ()

    async def next_job(self, address: str) -> int | None:
        return None

    async def prepare(self, address: str) -> Ready:
        return Ready("one")


async def test_whoever_comes_between_the_decision_and_the_pause_is_not_left_before_a_frozen_one() -> None:
    awake, used = _row(), activity.Activity()
    doze = Doze(_Agrees(), used, AT_ONCE)
    await asyncio.sleep(0.02)
    asleep = await doze.turn(awake, "192.0.2.3", paused_ms=0, now=NOW, pressed=False)
    assert asleep is not None and asleep.sleep is Sleep.PAUSED
    await asyncio.sleep(0.02)
    assert await doze.turn(asleep, None, paused_ms=5, now=NOW, pressed=False) is None, "nobody came"
    used.touch(awake.id, "a page was opened")
    await asyncio.sleep(0.01)
    woken = await doze.turn(asleep, None, paused_ms=1, now=NOW, pressed=False)
    assert woken is not None and woken.sleep is Sleep.AWAKE


async def _asleep(place: Place, **changes: object) -> Runtime:
    """A runtime that was ready and fell asleep, because nobody used it for the shortest possible time."""
    place.rules = AT_ONCE
    runtime = await place.member()
    if changes:
        await rows.put(place.db, replace(await place.row(runtime), **changes))  # type: ignore[arg-type]
    await place.orchestrate()
    await place.until(runtime, Phase.PAUSED)
    return runtime


@pytest.mark.docker
async def test_an_idle_runtime_is_paused_and_goes_on_at_once_when_somebody_comes(place: Place) -> None:
    runtime = await _asleep(place)
    before = place.container(runtime)
    assert before.status == "paused"
    assert (await place.row(runtime)).sleep is Sleep.PAUSED
    assert "nobody used it" in place.board.get(runtime.id).why
    assert place.loop
    place.loop.activity.touch(runtime.id, "somebody came")
    began = time.monotonic()
    await place.loop.rouse(runtime.id, "you opened it")
    print(f"roused after {(time.monotonic() - began) * 1000:.0f} ms")
    assert place.container(runtime).status == "running"
    assert place.board.get(runtime.id).phase is Phase.READY
    assert place.container(runtime).id == before.id
    kinds = [each.kind for each in await events.of(place.db, runtime.id)]
    assert "sleep" in kinds and "wake" in kinds and "pause" in kinds


@pytest.mark.docker
async def test_a_running_turn_is_never_cut_by_sleep(place: Place) -> None:
    place.rules = AT_ONCE
    runtime = await place.member()
    place.rules = Rules(10**12, 10**12)
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.inside(runtime, "echo 1 > /home/node/busy")
    assert place.loop
    await place.loop.stop()
    place.rules = AT_ONCE
    await place.orchestrate()
    view = await place.seen(runtime, lambda view: "turn is running" in view.why.lower())
    assert view.phase is Phase.READY
    assert place.container(runtime).status == "running"


@pytest.mark.docker
async def test_a_polling_channel_keeps_it_awake_unless_its_owner_lets_it_sleep(place: Place) -> None:
    place.rules = Rules(10**12, 10**12)
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await place.inside(runtime, "echo Telegram > /home/node/polling")
    assert place.loop
    await place.loop.stop()
    place.rules = AT_ONCE
    await place.orchestrate()
    await place.seen(runtime, lambda view: "Telegram" in view.why)
    assert (await place.row(runtime)).sleep is Sleep.AWAKE
    await place.loop.stop()
    await rows.put(place.db, replace(await place.row(runtime), sleeps_despite_polling=True))
    await place.orchestrate()
    await place.until(runtime, Phase.PAUSED)


@pytest.mark.docker
async def test_it_is_woken_ahead_of_its_next_scheduled_job(place: Place) -> None:
    place.rules = Rules(10**12, 10**12)
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.READY)
    at = now_ms() + sleeps.PAUSE_LEAD_MS + sleeps.WORTH_IT_MS + 20_000
    await place.inside(runtime, f"echo {at} > /home/node/next-job")
    assert place.loop
    await place.loop.stop()
    place.rules = AT_ONCE
    await place.orchestrate()
    await place.until(runtime, Phase.PAUSED)
    row = await place.row(runtime)
    assert row.wake_at == at
    await rows.put(place.db, replace(row, wake_at=now_ms() + sleeps.PAUSE_LEAD_MS + 1500))  # as if the hour had passed
    place.loop.wake(runtime.id)
    await place.seen(runtime, lambda view: view.phase is Phase.READY)
    assert "wake" in [each.kind for each in await events.of(place.db, runtime.id)]


@pytest.mark.docker
async def test_paused_for_long_it_is_stopped_and_a_visit_boots_it(place: Place) -> None:
    place.rules = Rules(pause_after_ms=0, stop_after_ms=1000)
    runtime = await place.member()
    await place.orchestrate()
    await place.until(runtime, Phase.ASLEEP)
    assert place.container(runtime).status == "exited"
    assert place.loop
    await place.loop.rouse(runtime.id, "you opened it")
    await place.until(runtime, Phase.READY)


@pytest.mark.docker
async def test_a_wish_on_the_dashboard_wakes_it_and_a_restart_is_a_new_start_of_the_same_container(
    place: Place,
) -> None:
    place.rules = Rules(pause_after_ms=20_000, stop_after_ms=10**12)
    runtime = await place.member()
    loop = await place.orchestrate()
    await place.until(runtime, Phase.READY)
    await rows.put(place.db, replace(await place.row(runtime), sleep=Sleep.PAUSED, sleep_why="It was paused."))
    loop.wake(runtime.id)
    await place.until(runtime, Phase.PAUSED)
    runtimes = Runtimes(place.db, Audit(place.db, b"key"), pool=ipaddress.IPv4Network("10.0.0.0/29"), wake=loop.wake)
    before = place.container(runtime)
    await runtimes.wish(runtime.id, Want.RUNNING, by=CONSOLE)
    await place.until(runtime, Phase.READY)
    assert place.container(runtime).status == "running"
    assert "Woken by the command line" in place.board.get(runtime.id).why
    await runtimes.restart(runtime.id, by=CONSOLE)
    await place.seen(runtime, lambda view: view.phase is not Phase.READY)
    await place.until(runtime, Phase.READY)
    after = place.container(runtime)
    assert after.id == before.id
    assert after.attrs["State"]["StartedAt"] != before.attrs["State"]["StartedAt"]


@pytest.mark.docker
async def test_the_time_before_a_start_is_not_idle_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.rules = Rules(pause_after_ms=30_000, stop_after_ms=10**12)
    runtime = await place.member(Want.STOPPED)
    loop = await place.orchestrate()
    later = steady_ms() + 60_000
    monkeypatch.setattr(activity, "steady_ms", lambda: later)
    await place.wish(runtime, Want.RUNNING)
    await place.until(runtime, Phase.READY)
    assert loop.activity.idle_ms(runtime.id) == 0
    monkeypatch.setattr(activity, "steady_ms", lambda: later + 30_000)
    loop.wake(runtime.id)
    await place.until(runtime, Phase.PAUSED)


@pytest.mark.docker
async def test_a_stop_wished_for_while_it_sleeps_is_a_stop(place: Place) -> None:
    runtime = await _asleep(place)
    await place.wish(runtime, Want.STOPPED)
    await place.until(runtime, Phase.STOPPED)
    assert place.container(runtime).attrs["State"]["ExitCode"] == 0, "it was unpaused first, and ended by itself"


@pytest.mark.docker
async def test_sleep_survives_a_restart_of_the_control_plane(place: Place) -> None:
    runtime = await _asleep(place)
    assert place.loop
    await place.loop.stop()
    started_at = place.container(runtime).attrs["State"]["StartedAt"]
    await place.orchestrate()
    await asyncio.sleep(1)
    await place.until(runtime, Phase.PAUSED)
    assert place.container(runtime).attrs["State"]["StartedAt"] == started_at
    await place.loop.rouse(runtime.id, "you opened it")
    await place.until(runtime, Phase.READY)


@pytest.mark.docker
async def test_a_box_short_of_memory_stops_the_one_that_was_idle_longest(place: Place) -> None:
    memory = [10**6]
    place.gate = Gate(lambda: Box(memory_mb=memory[0], disk_mb=10**6, swap_mb=0), slots=4)
    idle, asking = await _asleep(place), await place.member(Want.STOPPED)
    memory[0] = 700  # the spare is 512, and the stand-in may use 256
    await asyncio.sleep(1.1)  # it is read at most once a second
    await place.wish(asking, Want.RUNNING)
    view = await place.until(asking, Phase.QUEUED)
    assert view.place == (1, 1)
    assert "memory" in view.reason
    await place.until(idle, Phase.ASLEEP)
    assert "short of memory" in (await place.row(idle)).sleep_why
    memory[0] = 10**6
    await place.until(asking, Phase.READY)

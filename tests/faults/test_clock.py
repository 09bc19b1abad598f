"""The wall clock jumps by a day, forwards and back: no runtime is touched for it, and nobody waits longer than ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clawloops.clock import now_ms
from clawloops.model.runtime import Runtime, Want
from tests.faults.rig import Rig

pytestmark = [pytest.mark.docker, pytest.mark.faults]

LOOKS = 6
HOUR_MS = 3_600_000
SetClock = Callable[[str], None]


@pytest.fixture
def set_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """Moves the wall clock of every process that the test starts, and of no other: "+1d", "-1d", "+0".

    The steady clock stays as it is, as when somebody sets the clock of a real box.
    """
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.fail("libfaketime is not installed; tests/run does that: apt-get install libfaketime", pytrace=False)
    told = tmp_path / "clock"
    told.write_text("+0\n")
    for name, value in {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(told),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }.items():
        monkeypatch.setenv(name, value)

    def move(by: str) -> None:
        part = told.with_suffix(".part")  # read at every look at the clock: never half a line
        part.write_text(by + "\n")
        part.replace(told)

    return move


def one(rig: Rig, runtime: Runtime) -> dict[str, Any]:
    """Which container it is, and which of its starts."""
    attrs = rig.place.container(runtime).attrs
    return {"id": attrs["Id"], **{key: attrs["State"][key] for key in ("StartedAt", "Status", "Paused")}}


@pytest.mark.parametrize("jumps", [("+1d", "+0"), ("-1d", "+0"), ("+1d", "-1d")], ids=" then ".join)
async def test_a_clock_that_jumps_a_day_touches_no_runtime_and_wishes_work_as_ever(
    rig: Rig, set_clock: SetClock, jumps: tuple[str, str]
) -> None:
    up, down = await rig.member(), await rig.member(Want.STOPPED)
    await rig.begin()
    await rig.wanted(up, Want.RUNNING)
    await rig.wanted(down, Want.STOPPED)
    before = one(rig, up)
    rig.proxy.script(lambda call: None)
    for jump in jumps:
        set_clock(jump)
        for _ in range(LOOKS):
            rig.plane.wake_all()
            await asyncio.sleep(0.5)
        assert rig.proxy.calls == []
        await rig.again()
        await rig.wanted(up, Want.RUNNING)
    assert (one(rig, up), rig.proxy.calls) == (before, [])
    await rig.wish(up, Want.STOPPED)
    await rig.wish(down, Want.RUNNING)
    await rig.wanted(up, Want.STOPPED)
    await rig.wanted(down, Want.RUNNING)


async def test_a_wait_that_began_on_a_clock_a_day_ahead_is_not_a_day_long(rig: Rig, set_clock: SetClock) -> None:
    runtime = await rig.member(Want.STOPPED)
    fails = rig.workspace(runtime.id) / "exit-now"
    fails.write_text("3\n")
    set_clock("+1d")
    await rig.begin()
    await rig.wish(runtime, Want.RUNNING)
    async with asyncio.timeout(60):
        while (row := await rig.place.row(runtime)).failures < 2:
            await asyncio.sleep(0.05)
    assert row.retry_at > now_ms() + 23 * HOUR_MS
    fails.unlink()
    set_clock("-1d")
    await rig.wanted(runtime, Want.RUNNING)

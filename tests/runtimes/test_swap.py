"""A paused runtime's memory goes to swap and comes back whole. The test brings a swap file of its own."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawloops.runtimes import containers, names
from tests.standin.place import Place

pytestmark = pytest.mark.docker

MB = 1 << 20
FILLED_MB = 160
# Fills memory, then says again and again whether all of it is as it was.
PROGRAM = f"""
$| = 1; my @x = map {{ chr(65 + $_ % 26) x {MB} }} 1..{FILLED_MB};
while (1) {{
  my $whole = 1; for my $n (1..{FILLED_MB}) {{ $whole = 0 unless $x[$n - 1] eq chr(65 + $n % 26) x {MB} }}
  print $whole ? "whole\\n" : "broken\\n"; sleep 1;
}}
"""


@pytest.fixture
def swap(tmp_path: Path) -> Iterator[None]:
    file = tmp_path / "swap"
    with file.open("wb") as out:
        file.chmod(0o600)
        for _ in range(2 * FILLED_MB):
            out.write(bytes(MB))
    subprocess.run(["mkswap", file], check=True, capture_output=True)
    subprocess.run(["swapon", file], check=True, capture_output=True)
    yield
    subprocess.run(["swapoff", file], check=True, capture_output=True)


async def test_memory_is_pushed_out_while_paused_and_is_unharmed_afterwards(place: Place, swap: None) -> None:
    engine, api = place.engine, place.docker.api

    def resident_mb() -> int:
        usage: Any = api.stats(made, stream=False, one_shot=True)
        return int(usage["memory_stats"]["usage"]) // MB

    def said() -> list[str]:
        return list(api.logs(made).decode().splitlines())

    async def until_more(than: int) -> None:
        async with asyncio.timeout(30):
            while len(await asyncio.to_thread(said)) <= than:
                await asyncio.sleep(0.1)

    body = {
        "Image": place.image,
        "Entrypoint": ["perl", "-e", PROGRAM],
        "Labels": {names.MANAGED: "true", names.INSTALL: place.install_id},
        "HostConfig": {"NetworkMode": "none", "Init": True, "Memory": 512 * MB, "MemorySwap": 1024 * MB},
    }
    made = await containers.create(engine, f"swap-{place.install_id}", body)
    await containers.start(engine, made)
    await until_more(0)
    await containers.pause(engine, made)
    assert await asyncio.to_thread(resident_mb) > FILLED_MB
    assert await containers.limit(engine, made, memory_mb=64, promised_mb=512)
    assert await asyncio.to_thread(resident_mb) <= 64
    assert await containers.limit(engine, made, memory_mb=512, promised_mb=512)
    before = len(await asyncio.to_thread(said))
    await containers.unpause(engine, made)
    await until_more(before)
    assert set(await asyncio.to_thread(said)) == {"whole"}

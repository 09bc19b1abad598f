"""Every Engine call in the table is used, works on the real Engine, and nothing outside the table gets through."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import docker
import pytest

from clawloops.errors import EngineRefused, EngineUnavailable
from clawloops.model.runtime import Sandbox
from clawloops.runtimes import (
    archive,
    calls,
    containers,
    events,
    images,
    names,
    networks,
    parts,
    reaper,
    sandboxes,
    strangers,
    volumes,
)
from clawloops.runtimes.archive import Archive
from clawloops.runtimes.client import Api, Engine, EngineFailed, EngineMissing
from clawloops.runtimes.files import folder
from clawloops.runtimes.logs import reader
from clawloops.runtimes.seen import State
from clawloops.runtimes.spec import create_body, repository
from tests.standin.place import Place

T = TypeVar("T")

pytestmark = pytest.mark.docker


async def test_every_row_of_the_table_is_used_and_enough(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    used: set[calls.Call] = set()
    match = calls.match

    def noted(method: str, path: str) -> calls.Match | None:
        found = match(method, path)
        if found:
            used.add(found.call)
        return found

    monkeypatch.setattr(calls, "match", noted)
    row = await place.member()
    engine, install = Engine(place.url), place.install.install_id
    looks = events.watch(engine, install)
    assert (await anext(looks)).runtime_id is None  # connected

    async def network() -> Any:
        return await networks.seen(engine, install, row.id, subnet=row.subnet, edge=place.install.edge)

    async def container() -> Any:
        return (await containers.seen(engine, install, row.id))[0]

    async def known() -> strangers.Known:
        return strangers.Known(frozenset({row.id}), frozenset({(row.id, 0)}))

    assert await network() is None
    await networks.create(engine, install, row.id, subnet=row.subnet)
    seen = await network()
    assert (seen.ours, seen.exact, seen.edge) == (True, True, False)
    await networks.connect(engine, seen.id, place.install.edge, names.addresses(row.subnet).edge)
    assert (await network()).edge
    await networks.connect(engine, seen.id, place.install.edge, names.addresses(row.subnet).edge)  # once more is fine
    await volumes.ensure(engine, install, row.id)
    await volumes.ensure(engine, install, row.id)
    assert await images.present(engine, place.image)
    assert isinstance(await sandboxes.present(engine, Sandbox.RUNSC), bool)  # whatever this host has
    files = folder(place.install.data, row.id)
    files.write_config("{}")
    files.write_token("token")
    made = await containers.create(engine, place.name(row), create_body(row, place.install))
    with pytest.raises(EngineRefused) as refused:
        await containers.create(engine, place.name(row), create_body(row, place.install))
    assert refused.value.status == 409
    assert (await container()).state is State.CREATED
    await containers.start(engine, made)
    await containers.start(engine, made)
    assert (await container()).state is State.RUNNING
    assert await reader(engine, install)(row.id, 10, lambda found, _: found) == made
    assert row.id in {each.runtime_id for each in await parts.measure(engine, install)}
    await containers.unpause(engine, made)  # not paused: fine
    await containers.pause(engine, made)
    await containers.pause(engine, made)  # once more is fine
    assert (await container()).state is State.PAUSED
    assert await containers.limit(engine, made, memory_mb=64, promised_mb=256)
    assert (await container()).memory == 64 << 20
    assert await containers.limit(engine, made, memory_mb=256, promised_mb=256)
    await containers.unpause(engine, made)
    await Archive(engine, install, place.image).copy((row.id, 0), (row.id, 1))
    assert [each.name for each in await strangers.find(engine, install, known)] == [names.volume(install, row.id, 1)]
    await reaper.remove(engine, install, row.id, 1)
    assert await strangers.find(engine, install, known) == []
    await containers.signal(engine, made, "SIGKILL")
    async with asyncio.timeout(10):
        while (await container()).state.up:
            await asyncio.sleep(0.1)
    ended = await container()
    assert (ended.exit_code, ended.state) == (137, State.EXITED)
    await containers.signal(engine, made, "SIGTERM")  # down already: fine
    await containers.remove(engine, made, force=False)
    await containers.remove(engine, made, force=False)
    assert (await anext(looks)).runtime_id == row.id
    await networks.remove(engine, await network())
    assert await network() is None
    copies = archive.Archive(engine, install, place.image)
    assert await copies.measure((row.id, 0)) > 0
    await copies.copy((row.id, 0), (row.id, 1))
    await reaper.remove(engine, install, row.id, 1)
    await _keep_the_box_well(place, engine)
    assert set(calls.TABLE) - used == set()
    await looks.aclose()
    engine.close()


async def _keep_the_box_well(place: Place, engine: Engine) -> None:
    """A part that is started anew, and an image that nobody needs any more."""
    install = place.install
    labels = {names.MANAGED: "true", names.INSTALL: install.install_id, parts.SERVICE: "litellm"}
    part = await asyncio.to_thread(
        place.docker.containers.run, place.image, entrypoint=["sleep", "600"], detach=True, init=True, labels=labels
    )
    try:
        before = part.attrs["State"]["StartedAt"]
        await parts.restart(engine, install.install_id, "litellm")
        await asyncio.to_thread(part.reload)
        assert part.attrs["State"]["StartedAt"] != before
    finally:
        await asyncio.to_thread(part.remove, force=True)
    spare = f"{repository(place.image)}:spare-{secrets.token_hex(4)}"
    await asyncio.to_thread(place.docker.images.get(place.image).tag, *spare.rsplit(":", 1))
    assert spare in await images.unused(engine, install, [])
    await images.remove(engine, spare)
    assert spare not in await images.unused(engine, install, [])


async def test_a_call_outside_the_table_is_refused_before_it_is_sent(place: Place) -> None:
    for outside in (
        lambda api: api.remove_volume("somebody-else's"),
        lambda api: api.prune_volumes(),
        lambda api: api.exec_create(place.install.edge, "id"),
        lambda api: api.export(place.install.edge),
        lambda api: api.plugins(),
        lambda api: api.tag(place.image, "somebody-else", "1"),
    ):
        with pytest.raises(EngineRefused, match=r"calls\.py"):
            await place.engine.call(outside)


def test_the_table_is_read_strictly() -> None:
    assert calls.match("GET", "/v1.41/containers/abc/json")
    for method, path in (
        ("GET", "/containers/a/../../secrets/json"),
        ("DELETE", "/volumes/abc"),
        ("POST", "/containers/abc/json"),
        ("GET", "/containers/abc/export"),
        ("DELETE", "/volumes/clawloops-0a0b0c0d-edge"),
        ("GET", "/images/a/../../volumes/json/json"),
    ):
        assert calls.match(method, path) is None, path


async def test_errors_are_told_apart(place: Place, tmp_path: Path) -> None:
    with pytest.raises(EngineMissing):
        await containers.start(place.engine, "no-such-container")
    nobody = Engine(f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(EngineUnavailable, match="docker info"):
        await images.present(nobody, "x")
    nobody.close()


async def test_an_engine_that_hangs_is_given_up_after_the_limit(tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(hang, tmp_path / "hang.sock")
    engine = Engine(f"unix://{tmp_path}/hang.sock", timeout_s=1)
    async with asyncio.timeout(5):
        with pytest.raises(EngineUnavailable):
            await images.present(engine, "x")
    engine.close()
    server.close()


class Busy(Engine):
    """The real one; the first `fails` calls find the container busy, in the words of runc or of the Engine."""

    fails = 0
    words = "OCI runtime pause failed: unable to freeze: unknown"

    async def call(self, work: Callable[[Api], T]) -> T:
        if self.fails:
            self.fails -= 1
            raise EngineFailed(f"the Docker Engine failed ({self.words})")
        return await super().call(work)


async def test_a_freeze_that_a_busy_process_gets_in_the_way_of_is_tried_again_but_not_forever(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: Any = await asyncio.to_thread(
        place.docker.containers.run, place.image, entrypoint=["sleep", "60"], init=True, detach=True
    )
    engine = Busy(place.url)
    try:
        engine.fails = 3
        await containers.pause(engine, made.id)
        await asyncio.to_thread(made.reload)
        assert (engine.fails, made.status) == (0, "paused")
        monkeypatch.setattr(containers, "FREEZE_S", 0.3)
        engine.fails = 100
        with pytest.raises(EngineFailed, match="unable to freeze"):
            await containers.pause(engine, made.id)
        assert engine.fails > 90
    finally:
        engine.close()
        await asyncio.to_thread(made.remove, force=True)


async def test_a_start_that_the_engine_has_lost_sight_of_is_told_with_what_ends_it(
    place: Place,
) -> None:
    """Seen five times in 65 kills of a daemon that started two containers; the command let each of them start again."""
    engine = Busy(place.url)
    engine.words, engine.fails = "id already in use", 1
    with pytest.raises(EngineFailed, match=f"`pkill -KILL -f {'0' * 64}`"):
        await containers.start(engine, "0" * 64)
    engine.close()


async def test_a_volume_of_somebody_else_is_refused(place: Place) -> None:
    name = names.volume(place.install_id, "r1")
    theirs: Any = await asyncio.to_thread(place.docker.volumes.create, name)
    try:
        with pytest.raises(EngineRefused, match=name):
            await volumes.ensure(place.engine, place.install_id, "r1")
    finally:
        await asyncio.to_thread(theirs.remove)


async def test_a_network_that_is_not_as_it_must_be_is_told(place: Place) -> None:
    row = await place.member()
    pool = docker.types.IPAMPool(subnet=row.subnet)
    await asyncio.to_thread(
        place.docker.networks.create,
        place.name(row),
        ipam=docker.types.IPAMConfig(pool_configs=[pool]),
        labels=names.labels(place.install_id, row.id),
    )
    seen = await networks.seen(place.engine, place.install_id, row.id, subnet=row.subnet, edge=place.install.edge)
    assert seen is not None
    assert (seen.ours, seen.exact) == (True, False)

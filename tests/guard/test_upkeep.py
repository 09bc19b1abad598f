"""What is found wrong with a real box is put right through the guard, which lets nothing else happen to its parts."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from clawloops import doctor
from clawloops.boxside import Remedies, remedies
from clawloops.config import Settings, load
from clawloops.control.audit import Audit
from clawloops.control.backups import Backups
from clawloops.control.runtimes import CONSOLE, Runtimes
from clawloops.errors import EngineRefused
from clawloops.guard.policy import Policy
from clawloops.model.checkup import Finding, Remedy
from clawloops.model.runtime import Phase, Want
from clawloops.orchestrator.canary import Watch
from clawloops.orchestrator.walls import Verdict, Walls
from clawloops.runtimes import containers, images, names, networks, parts
from clawloops.store import runtimes as rows
from tests.guard.conftest import Guarded, ask
from tests.orchestrator.watched import watched_place
from tests.standin.fixtures import bridges_alone, opened
from tests.standin.namespace import dial_from
from tests.standin.place import SOCKET, Place

__all__ = ["bridges_alone"]

pytestmark = pytest.mark.docker

SECRET = "canary-" + secrets.token_hex(8)


def settings_of(place: Place, **more: str) -> Settings:
    given = {
        "INSTALL_ID": place.install_id, "DATA": place.install.data, "ENGINE": place.url, "BASE": "box.localhost",
        "DATABASE_URL": f"sqlite:///{place.install.data}/test.db", "OPENCLAW_IMAGE": place.image,
        "RUNTIME_POOL": str(place.pool), **more,
    }  # fmt: skip
    return load({f"CLAWLOOPS_{name}": value for name, value in given.items()})


def remedies_of(place: Place, settings: Settings) -> Remedies:
    async def none() -> None:
        raise AssertionError("the canary was not asked for")

    def wake(runtime_id: str) -> None:
        if place.loop is not None:
            place.loop.wake(runtime_id)

    audit = Audit(place.db, b"key")
    runtimes = Runtimes(place.db, audit, pool=place.pool, wake=wake)
    backups = Backups(place.db, audit, settings.data / "backups")
    return remedies(settings, place.engine, runtimes, backups, remake_canary=none, board=place.board)


async def found(settings: Settings, part: str) -> Finding:
    (finding,) = [each async for each in doctor.look(settings, part)]
    return finding


def part_of(place: Place, part: str, *command: str, **more: Any) -> Any:
    """A container as Compose makes one of the appliance's parts."""
    labels = {names.MANAGED: "true", names.INSTALL: place.install_id, parts.SERVICE: part}
    return place.docker.containers.run(
        place.image, entrypoint=list(command or ("sleep", "600")), detach=True, labels=labels, init=not command,
        name=f"clawloops-{place.install_id}-{part}", environment={"TOKEN": SECRET}, stop_signal="SIGKILL", **more,
    )  # fmt: skip


async def test_each_running_container_tells_what_it_uses(place: Place) -> None:
    await place.orchestrate()
    row = await place.member()
    await place.until(row, Phase.READY)
    busy = part_of(place, "ollama", "sh", "-c", "while :; do :; done")
    await asyncio.to_thread(part_of, place, "litellm")
    before = {each.name: each for each in await parts.measure(place.engine, place.install_id)}
    await asyncio.sleep(1)
    after = {each.name: each for each in await parts.measure(place.engine, place.install_id)}
    assert set(after) == {place.name(row), busy.name, f"clawloops-{place.install_id}-litellm"}
    used = {
        name: (each.cpu_ns - before[name].cpu_ns) / (each.at - before[name].at) / 1e6 for name, each in after.items()
    }
    assert 0.02 < used[busy.name] < 1.5, "it keeps a core busy, as far as others let it"
    assert used[busy.name] > 3 * used[f"clawloops-{place.install_id}-litellm"]
    assert (after[busy.name].part, after[place.name(row)].runtime_id) == ("ollama", row.id)
    assert all(64 << 10 < each.memory < 1 << 30 for each in after.values()), after


async def test_of_a_part_the_guard_tells_two_numbers_and_lets_some_be_restarted(place: Place, guarded: Guarded) -> None:
    ollama, edge = part_of(place, "ollama"), part_of(place, "postgres")
    row = await place.member()
    told = (await ask(guarded.control, "GET", f"/v1.41/containers/{ollama.id}/stats")).told
    assert told.keys() == {"cpu_stats", "memory_stats"} and told["cpu_stats"].keys() == {"cpu_usage"}
    assert set(told["memory_stats"]) == {"usage", "stats"}
    refused = [
        ("GET", f"/v1.41/containers/{ollama.id}/stats?stream=true"),
        ("GET", f"/v1.41/containers/{ollama.id}/json"), ("GET", f"/v1.41/containers/{ollama.id}/logs"),
        ("GET", f"/v1.41/containers/{ollama.id}/archive?path=/"), ("PUT", f"/v1.41/containers/{ollama.id}/archive"),
        ("POST", f"/v1.41/containers/{ollama.id}/kill"), ("POST", f"/v1.41/containers/{ollama.id}/pause"),
        ("POST", f"/v1.41/containers/{ollama.id}/stop"), ("DELETE", f"/v1.41/containers/{ollama.id}"),
        ("POST", f"/v1.41/containers/{ollama.id}/update"), ("POST", f"/v1.41/containers/{edge.id}/restart"),
        ("POST", f"/v1.41/containers/{place.install.edge}/restart"),
        ("POST", f"/v1.41/containers/{ollama.id}/restart?t=0"), ("DELETE", f"/v1.41/images/{place.image}"),
    ]  # fmt: skip
    stranger = place.docker.containers.run(place.image, entrypoint=["sleep", "600"], detach=True, init=True)
    try:
        theirs = f"/v1.41/containers/{stranger.id}"
        refused += [("GET", f"{theirs}/stats"), ("POST", f"{theirs}/restart")]
        for method, path in refused:
            answer = await ask(guarded.control, method, path)
            assert answer.status == 403 and SECRET not in str(answer.told), (method, path, answer)
    finally:
        stranger.remove(force=True)
    await place.orchestrate()
    await place.until(row, Phase.READY)
    assert (await ask(guarded.control, "POST", f"/v1.41/containers/{place.name(row)}/restart")).status == 403
    with pytest.raises(EngineRefused):
        await parts.restart(place.engine, place.install_id, "postgres")
    began = ollama.attrs["State"]["StartedAt"]
    await parts.restart(place.engine, place.install_id, "ollama")
    ollama.reload()
    assert ollama.attrs["State"]["StartedAt"] != began and ollama.status == "running"


async def test_a_part_that_somebody_has_stopped_is_found_and_started(place: Place) -> None:
    settings, part = settings_of(place), "parts of the appliance"
    made = part_of(place, "litellm")
    assert (await found(settings, part)).why == ""
    await asyncio.to_thread(made.stop, timeout=0)
    finding = await found(settings, part)
    assert finding.remedy is Remedy.START_PARTS and "docker compose up -d litellm" in finding.why
    await remedies_of(place, settings)[Remedy.START_PARTS](CONSOLE)
    assert (await found(settings, part)).why == ""
    kept = part_of(place, "postgres")
    await asyncio.to_thread(kept.stop, timeout=0)
    finding = await found(settings, part)
    assert "docker compose up -d postgres" in finding.why and finding.remedy is None, "it holds data: a person looks"


async def test_a_part_that_hangs_is_restarted_and_answers_again(place: Place) -> None:
    serve = "use IO::Socket::INET; $s = IO::Socket::INET->new(LocalPort => 11434, Listen => 9, ReuseAddr => 1);"
    serve += ' while ($c = $s->accept) { <$c>; print $c "HTTP/1.0 200 OK\\r\\n\\r\\n{}"; close $c }'
    made = part_of(place, "ollama", "perl", "-e", serve)
    made.reload()
    url = f"http://{made.attrs['NetworkSettings']['IPAddress']}:11434"
    settings = settings_of(place, OLLAMA_URL=url)
    async with asyncio.timeout(10):
        while (await found(settings, "Ollama")).why:
            await asyncio.sleep(0.1)
    os.kill(made.attrs["State"]["Pid"], signal.SIGSTOP)
    finding = await found(settings, "Ollama")
    assert finding.remedy is Remedy.RESTART_OLLAMA and finding.why.startswith(f"no answer from {url}")
    await remedies_of(place, settings)[Remedy.RESTART_OLLAMA](CONSOLE)
    assert (await found(settings, "Ollama")).why == ""


async def test_a_network_that_leads_out_is_made_anew_and_a_strangers_is_left_to_a_person(place: Place) -> None:
    settings, part = settings_of(place), "networks of workspaces"
    row = await place.member(Want.STOPPED)
    pool = docker.types.IPAMConfig(pool_configs=[docker.types.IPAMPool(subnet=row.subnet)])
    name, labels = names.network(place.install_id, row.id), names.labels(place.install_id, row.id)
    place.docker.networks.create(name, driver="bridge", ipam=pool, labels=labels)  # neither internal nor inhibited
    finding = await found(settings, part)
    assert finding.remedy is Remedy.REMAKE_NETWORKS and f"docker network inspect {name}" in finding.why
    await remedies_of(place, settings)[Remedy.REMAKE_NETWORKS](CONSOLE)
    assert (await found(settings, part)).why == ""
    assert await networks.seen(place.engine, place.install_id, row.id, subnet=row.subnet, edge=settings.edge) is None
    theirs = place.docker.networks.create(name, driver="bridge", ipam=pool, labels={"whose": "theirs"})
    try:
        finding = await found(settings, part)
        assert finding.remedy is None and f"docker network rm {name}" in finding.why
        await remedies_of(place, settings)[Remedy.REMAKE_NETWORKS](CONSOLE)
        theirs.reload()
    finally:
        theirs.remove()


async def test_workspaces_that_are_hardly_tried_any_more_are_started_at_once(place: Place) -> None:
    settings = settings_of(place)
    row = await place.member()
    await rows.set_failure(place.db, row.id, 7, "the image was not there", 2**53)
    await place.orchestrate()
    finding = await found(settings, "workspaces")
    assert finding.remedy is Remedy.START_WORKSPACES and row.slug in finding.why and "the image was" in finding.why
    await remedies_of(place, settings)[Remedy.START_WORKSPACES](CONSOLE)
    assert place.board.get(row.id).phase is Phase.READY
    assert (await found(settings, "workspaces")).why == ""


@pytest.fixture
def own_images(docker_client: docker.DockerClient, standin: str) -> Iterator[str]:
    """A repository of the test's own with the tags 1, 2 and 3: no image of anybody else is ever in reach."""
    repository = f"clawloops-test-{secrets.token_hex(4)}/openclaw"
    for tag in ("1", "2", "3"):
        docker_client.images.get(standin).tag(repository, tag)
    yield repository
    for tag in docker_client.images.get(standin).tags:
        if tag.startswith(repository):
            docker_client.images.remove(tag, noprune=True)


@pytest.fixture
async def tagged(
    docker_client: docker.DockerClient, own_images: str, guarded: Guarded, tmp_path: Path
) -> AsyncIterator[Place]:
    made = Place(docker_client, f"unix://{guarded.control}", tmp_path, f"{own_images}:3")
    async with AsyncExitStack() as stack:
        await guarded.open(stack, Policy(install=made.install, pool=made.pool), SOCKET)
        yield await stack.enter_async_context(opened(made))


async def test_images_that_nobody_needs_are_removed_when_the_disk_is_full(
    tagged: Place, own_images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tagged)
    assert (await found(settings, "disk")).why == ""
    monkeypatch.setattr(doctor, "LOW_DISK_BYTES", 2**62)
    row = await tagged.member(Want.STOPPED)
    await rows.put(tagged.db, replace(row, pin=f"{own_images}:2"))
    finding = await found(settings, "disk")
    assert finding.remedy is Remedy.REMOVE_IMAGES and "1 older images of OpenClaw are used by nobody" in finding.why
    await remedies_of(tagged, settings)[Remedy.REMOVE_IMAGES](CONSOLE)
    left = {each for image in tagged.docker.images.list(own_images) for each in image.tags if own_images in each}
    assert left == {f"{own_images}:2", f"{own_images}:3"}
    assert (await found(settings, "disk")).remedy is None, "a button that would do nothing is none"
    with pytest.raises(EngineRefused):
        await images.remove(tagged.engine, f"{own_images}:3")


async def test_a_canary_that_hangs_is_made_anew_and_tests_at_once(place: Place, bridges_alone: None) -> None:
    async with watched_place(place) as watched:
        place.walls = Walls()
        watch = Watch(
            place.db, place.engine, place.walls, watched.around, wake_all=lambda: None, dial=dial_from(watched.pid)
        )
        await watch.remake()
        assert place.walls.last.verdict is Verdict.CLOSED
        before = watched.container()
        await containers.pause(place.engine, before.id)
        try:
            await watch.remake()
            assert place.walls.last.verdict is Verdict.CLOSED
        finally:
            assert watched.container().id != before.id

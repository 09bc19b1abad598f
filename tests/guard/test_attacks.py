"""Attacks 5, 6 and 7 of the threat model: whoever has taken over the control plane or Traefik, before a real Engine."""

from __future__ import annotations

import asyncio
import io
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from clawloops.errors import EngineUnavailable
from clawloops.guard.policy import Policy
from clawloops.model.runtime import Phase, Runtime
from clawloops.runtimes import bodies, client, containers, images, names, networks, volumes
from clawloops.runtimes.files import folder
from clawloops.runtimes.spec import create_body
from tests.guard.conftest import Asked, Guarded, ask
from tests.standin.place import Place

pytestmark = pytest.mark.docker

CANARY = "canary-" + secrets.token_hex(8)


@pytest.fixture
def foreigner(place: Place) -> Iterator[Any]:
    """A container of somebody else on this host, which runs and has a secret."""
    made = place.docker.containers.run(
        place.image, entrypoint=["sleep", "600"], detach=True, init=True, environment={"TOKEN": CANARY}, tty=False
    )
    yield made
    made.remove(force=True, v=True)


@pytest.fixture
async def opened(place: Place) -> Runtime:
    """A member's workspace that runs."""
    await place.orchestrate()
    row = await place.member()
    await place.until(row, Phase.READY)
    return row


async def _refused(guarded: Guarded, method: str, path: str, **given: Any) -> str:
    found = await ask(guarded.control, method, path, **given)
    assert found.status == 403, (method, path, found)
    assert "the guard refuses this" in found.why
    return found.why


@pytest.mark.attacks(5)
async def test_nothing_but_our_own_bodies_becomes_a_container(place: Place, guarded: Guarded, foreigner: Any) -> None:
    row = await place.member()
    body = create_body(row, place.install)
    name = place.name(row)
    for spoilt in (
        {"Image": place.image},
        {"Image": place.image, "HostConfig": {"Privileged": True}},
        {"Image": place.image, "HostConfig": {"Binds": ["/:/host"]}},
        {**body, "HostConfig": {**body["HostConfig"], "Binds": ["/var/run/docker.sock:/s"]}},
        {**body, "HostConfig": {**body["HostConfig"], "NetworkMode": "host"}},
        {**body, "User": "0:0"},
        {**body, "Labels": {**body["Labels"], "traefik.http.routers.x.rule": "PathPrefix(`/`)"}},
    ):
        await _refused(guarded, "POST", f"/v1.41/containers/create?name={name}", json=spoilt)
    await _refused(guarded, "POST", "/v1.41/containers/create?name=x", json=body)
    await _refused(guarded, "POST", f"/v1.41/containers/create?name={name}", data=b"{" * 3000)
    await _refused(guarded, "POST", f"/v1.41/containers/create?name={name}", data=b"[" * 100_000)
    await _refused(guarded, "POST", f"/v1.41/containers/create?name={name}", data=bytes(2 << 20))
    # Of two fields with one name the last one counts here, and only what was read is sent on.
    twice = json.dumps(body)[:-1] + ', "HostConfig": {"Privileged": true}}'
    await _refused(guarded, "POST", f"/v1.41/containers/create?name={name}", data=twice.encode())
    mine: dict[str, Any] = {"label": f"{names.INSTALL}={place.install_id}"}
    assert [each.name for each in place.docker.containers.list(all=True, filters=mine)] == [place.install.edge]
    assert place.docker.containers.list(all=True, filters={"name": name}) == []


@pytest.mark.attacks(7)
async def test_an_image_that_brings_routes_is_refused(place: Place, guarded: Guarded) -> None:
    tag = f"{place.image.partition(':')[0]}:evil-{secrets.token_hex(3)}"
    dockerfile = f'FROM {place.image}\nLABEL traefik.http.routers.x.rule="PathPrefix(`/`)"\n'
    await asyncio.to_thread(_build, place, dockerfile, tag)
    try:
        row = await place.member()
        body = create_body(replace(row, image=tag), place.install)
        path = f"/v1.41/containers/create?name={place.name(row)}"
        assert "carries the label traefik.http.routers.x.rule" in await _refused(guarded, "POST", path, json=body)
    finally:
        place.docker.images.remove(tag, force=True)


@pytest.mark.attacks(5)
async def test_containers_of_others_are_neither_seen_nor_touched(
    place: Place, guarded: Guarded, foreigner: Any, opened: Runtime
) -> None:
    mine = place.container(opened)
    for who in (foreigner.id, foreigner.name, foreigner.short_id, place.install.edge):
        for method, what in (
            ("GET", "json"), ("POST", "start"), ("POST", "kill?signal=SIGKILL"), ("POST", "pause"),
            ("GET", "archive?path=/"), ("PUT", "archive?path=/"), ("GET", "logs?stdout=1&follow=0&tail=10"),
        ):  # fmt: skip
            await _refused(guarded, method, f"/v1.41/containers/{who}/{what}")
        await _refused(guarded, "DELETE", f"/v1.41/containers/{who}?force=1")
        limits = {"Memory": 64 << 20, "MemorySwap": 128 << 20}
        await _refused(guarded, "POST", f"/v1.41/containers/{who}/update", json=limits)
    # What it says of our own: not what is mounted into it from the host, and nothing is run in it.
    for what in ("archive?path=/run/clawloops", "logs?stdout=1", "export", "top", "attach/ws"):
        await _refused(guarded, "GET", f"/v1.41/containers/{mine.id}/{what}")
    await _refused(guarded, "POST", f"/v1.41/containers/{mine.id}/exec", json={"Cmd": ["id"]})
    seen = await ask(guarded.control, "GET", "/v1.41/containers/json?all=1")
    assert sorted(each["Names"][0] for each in seen.told) == sorted([f"/{mine.name}", f"/{place.install.edge}"])
    foreigner.reload()
    assert foreigner.status == "running"


@pytest.mark.attacks(5)
async def test_networks_volumes_and_images_of_others_are_neither_seen_nor_touched(
    place: Place, guarded: Guarded, foreigner: Any, opened: Runtime
) -> None:
    network = names.network(place.install_id, opened.id)
    other = await place.member()
    address = names.addresses(opened.subnet)
    for who in (foreigner.id, place.name(other)):
        body = {"Container": who, "EndpointConfig": {"IPAMConfig": {"IPv4Address": address.runtime}}}
        found = await ask(guarded.control, "POST", f"/v1.41/networks/{network}/connect", json=body)
        assert found.status in (403, 404), found
    front = f"clawloops-{place.install_id}-front"  # ours, and no member's: to be seen, and left alone
    assert "Containers" not in (await ask(guarded.control, "GET", f"/v1.41/networks/{front}")).told
    for theirs in ("bridge", "host", front):
        if theirs != front:
            await _refused(guarded, "GET", f"/v1.41/networks/{theirs}")
        await _refused(guarded, "DELETE", f"/v1.41/networks/{theirs}")
        body = {"Container": place.name(opened), "EndpointConfig": {}}
        await _refused(guarded, "POST", f"/v1.41/networks/{theirs}/connect", json=body)
    volume = place.docker.volumes.create(f"somebody-{secrets.token_hex(4)}")
    try:
        await _refused(guarded, "GET", f"/v1.41/volumes/{volume.name}")
        await _refused(guarded, "DELETE", f"/v1.41/volumes/{volume.name}")
        shown = await ask(guarded.control, "GET", "/v1.41/volumes")
        used = await ask(guarded.control, "GET", "/v1.41/system/df?type=volume")
        ours = names.volume(place.install_id, opened.id)
        for found in (shown, used):
            assert [each["Name"] for each in found.told["Volumes"]] == [ours]
            assert set(found.told) == {"Volumes"}
    finally:
        volume.remove()
    listed = {each["Name"] for each in (await ask(guarded.control, "GET", "/v1.41/networks")).told}
    assert listed == {network, front}
    hidden = await ask(guarded.control, "GET", "/v1.41/images/debian:latest/json")
    assert (hidden.status, "No such image" in hidden.why) == (404, True)


@pytest.mark.attacks(5)
async def test_a_network_of_somebody_else_with_our_name_is_told_of_and_left_alone(
    place: Place, guarded: Guarded
) -> None:
    row = await place.member()
    name = names.network(place.install_id, row.id)
    theirs = place.docker.networks.create(name)
    try:
        seen = await networks.seen(place.engine, place.install_id, row.id, subnet=row.subnet, edge=place.install.edge)
        assert seen is not None and not seen.ours
        await _refused(guarded, "DELETE", f"/v1.41/networks/{name}")
    finally:
        theirs.remove()


@pytest.mark.attacks(5)
async def test_a_folder_that_leads_elsewhere_is_not_mounted(place: Place, guarded: Guarded) -> None:
    row = await place.member()
    files = folder(place.install.data, row.id)
    files.write_config("{}")
    files.write_token("token")
    await networks.create(place.engine, place.install_id, row.id, subnet=row.subnet)
    await volumes.ensure(place.engine, place.install_id, row.id)
    made = await containers.create(place.engine, place.name(row), create_body(row, place.install))
    config = Path(place.install.data) / "runtimes" / row.id / "config"
    config.rename(config.with_name("aside"))
    config.symlink_to("/etc")
    assert "leads elsewhere" in await _refused(guarded, "POST", f"/v1.41/containers/{made}/start")
    config.unlink()
    assert "cannot be looked at" in await _refused(guarded, "POST", f"/v1.41/containers/{made}/start")
    config.with_name("aside").rename(config)
    assert (await ask(guarded.control, "POST", f"/v1.41/containers/{made}/start")).status == 204


@pytest.mark.attacks(5)
async def test_a_carrier_is_never_started_and_a_runtime_never_read(place: Place, guarded: Guarded) -> None:
    row = await place.member()
    await volumes.ensure(place.engine, place.install_id, row.id)
    body = bodies.carrier(place.install_id, place.image, names.volume(place.install_id, row.id), writes=False)
    name = names.carrier(place.install_id, row.id, 0, "abcdef")
    made = await ask(guarded.control, "POST", f"/v1.41/containers/create?name={name}", json=body)
    assert made.status == 201
    await _refused(guarded, "POST", f"/v1.41/containers/{name}/start")
    assert (await ask(guarded.control, "GET", f"/v1.41/containers/{name}/archive?path=/home")).status == 200
    assert (await ask(guarded.control, "DELETE", f"/v1.41/containers/{name}?force=True&v=False")).status == 204


@pytest.mark.attacks(6)
async def test_traefik_is_shown_routes_and_nothing_else(
    place: Place, guarded: Guarded, foreigner: Any, opened: Runtime
) -> None:
    mine = place.container(opened)

    async def asked(method: str, path: str) -> Asked:
        return await ask(guarded.traefik, method, path)

    assert (await asked("HEAD", "/_ping")).status == 200
    assert (await asked("GET", "/v1.41/version")).told["ApiVersion"]
    listed = await asked("GET", "/v1.41/containers/json?filters=%7B%7D")
    assert [each["Id"] for each in listed.told] == [mine.id]
    inspected = await asked("GET", f"/v1.41/containers/{mine.id}/json")
    for told in (*listed.told, inspected.told):
        text = json.dumps(told)
        assert "Env" not in text and "Mounts" not in text and place.install.data not in text
        labels = told.get("Labels") or told["Config"]["Labels"]
        assert {each for each in labels if not each.startswith("traefik.")} == {names.INSTALL}
    assert inspected.told["Config"]["Labels"]["traefik.enable"] == "true"
    for method, path in (
        ("GET", f"/v1.41/containers/{foreigner.id}/json"),
        ("GET", f"/v1.41/containers/{place.install.edge}/json"),
        ("GET", f"/v1.41/containers/{mine.id}/archive?path=/run/clawloops"),
        ("GET", f"/v1.41/containers/{mine.id}/export"),
        ("GET", f"/v1.41/containers/{mine.id}/logs?stdout=1&follow=0&tail=10"),
        ("GET", f"/v1.41/containers/{mine.id}%2fjson"),
        ("POST", f"/v1.41/containers/{mine.id}/kill"),
        ("POST", "/v1.41/containers/create"),
        ("DELETE", f"/v1.41/containers/{mine.id}"),
        ("HEAD", f"/v1.41/containers/{mine.id}/archive?path=/"),
        ("GET", "/v1.41/networks"),
        ("GET", "/v1.41/volumes"),
        ("GET", "/v1.41/images/json"),
        ("GET", "/v1.41/info"),
        ("GET", "/v1.41/../containers/json"),
        ("POST", "/v1.41/session"),
    ):
        found = await asked(method, path)
        assert found.status == 403, (method, path, found)
        assert CANARY not in str(found.told)


@pytest.mark.attacks(5, 6)
async def test_events_tell_of_this_install_alone(place: Place, guarded: Guarded, opened: Runtime) -> None:
    mine = place.container(opened)
    async with _events(guarded.control) as control, _events(guarded.traefik) as traefik:
        stranger = await asyncio.to_thread(
            place.docker.containers.run, place.image, entrypoint=["true"], detach=True, environment={"T": CANARY}
        )
        await asyncio.to_thread(stranger.wait)
        await asyncio.to_thread(stranger.remove)
        await asyncio.to_thread(mine.pause)
        async with asyncio.timeout(10):
            first, second = json.loads(await control.readline()), json.loads(await traefik.readline())
    assert (first["Action"], first["Actor"]["ID"]) == ("pause", mine.id)
    assert first["Actor"]["Attributes"][names.RUNTIME] == opened.id
    assert set(first) == {"Type", "Action", "Actor", "time"}
    assert (second["Action"], second["Actor"]["Attributes"]) == ("pause", {"name": mine.name})
    await asyncio.to_thread(mine.unpause)


@asynccontextmanager
async def _events(socket: Path) -> AsyncIterator[aiohttp.StreamReader]:
    connector = aiohttp.UnixConnector(path=str(socket))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://docker/v1.41/events") as answer,
    ):
        assert answer.status == 200
        yield answer.content


async def test_an_engine_that_is_down_is_unavailable_and_not_refusing(place: Place, tmp_path: Path) -> None:
    other = Guarded(tmp_path / "other")
    (tmp_path / "other").mkdir()
    async with AsyncExitStack() as stack:
        await other.open(stack, Policy(place.install, place.pool), f"unix://{tmp_path}/nobody.sock")
        engine = client.Engine(f"unix://{other.control}")
        with pytest.raises(EngineUnavailable, match="docker info"):
            await images.present(engine, place.image)
        engine.close()


def _build(place: Place, dockerfile: str, tag: str) -> None:
    place.docker.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag, rm=True)

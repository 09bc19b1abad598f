"""What a real Engine makes of our create body is no difference, in whatever state; any change of it is one."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

import pytest

from clawloops.runtimes import containers, images, names, networks, volumes
from clawloops.runtimes.drift import LEFT_TO_THE_DAEMON, WITHOUT_EFFECT, differences
from clawloops.runtimes.files import folder
from clawloops.runtimes.seen import Container, Image
from clawloops.runtimes.spec import create_body
from tests.standin.place import Place

pytestmark = pytest.mark.docker

Body = dict[str, Any]


HARMLESS = {
    "ConsoleSize …[0]",
    "ExposedPorts …'18789/tcp': {'x': 'y'}}",
    "LogConfig …size': '10m', 'x': 'y'}}",
    "LogConfig …size': '10m'}, 'x': 'y'}",
    "MaskedPaths …', '/sys/firmware', 'x']",
    "ReadonlyPaths …roc/sysrq-trigger', 'x']",
    "RestartPolicy …{'Name': 'no'}",
}
"""More is hidden or logged, or a field is left out that has its default anyway."""


class Made:
    """A runtime's container, made by the real Engine from the real body."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def make(self) -> Made:
        place, engine, install = self._place, self._place.engine, self._place.install_id
        self.row = await place.member()
        await networks.create(engine, install, self.row.id, subnet=self.row.subnet)
        await volumes.ensure(engine, install, self.row.id)
        files = folder(place.install.data, self.row.id)
        files.write_config("{}")
        files.write_token("token")
        self.body = create_body(self.row, place.install)
        self.image = await images.look(engine, place.image)
        self.id = await containers.create(engine, place.name(self.row), self.body)
        return self

    async def seen(self) -> Container:
        place = self._place
        (only,) = await containers.seen(place.engine, place.install_id, self.row.id, body=self.body, image=self.image)
        return only

    async def inspected(self) -> Body:
        row: Body = await asyncio.to_thread(self._place.docker.api.inspect_container, self.id)
        return row


@pytest.fixture
async def made(place: Place) -> Made:
    return await Made(place).make()


async def test_nothing_that_happens_to_a_container_in_its_life_is_an_edit(place: Place, made: Made) -> None:
    engine, row = place.engine, made.row
    assert (await made.seen()).edited == ()
    await containers.start(engine, made.id)
    assert (await made.seen()).edited == ()
    await containers.pause(engine, made.id)
    assert await containers.limit(engine, made.id, memory_mb=64, promised_mb=256)
    assert ((await made.seen()).memory, (await made.seen()).edited) == (64 << 20, ())
    assert await containers.limit(engine, made.id, memory_mb=256, promised_mb=256)
    await containers.unpause(engine, made.id)
    network = names.network(place.install_id, row.id)
    await networks.disconnect(engine, network, made.id)
    assert (await made.seen()).edited == ()  # told by network_id, and mended by attaching it
    await networks.connect(engine, network, made.id, names.addresses(row.subnet).runtime)
    assert (await made.seen()).edited == ()
    await containers.signal(engine, made.id, "SIGKILL")
    async with asyncio.timeout(10):
        while (await made.seen()).state.up:
            await asyncio.sleep(0.1)
    assert (await made.seen()).edited == ()
    await containers.start(engine, made.id)
    assert (await made.seen()).edited == ()


async def test_edits_by_hand_are_told_by_name(place: Place, made: Made) -> None:
    await containers.start(place.engine, made.id)
    api = place.docker.api
    await asyncio.to_thread(api.update_container, made.id, mem_limit="128m", cpu_shares=5)
    await asyncio.to_thread(api.update_container, made.id, restart_policy={"Name": "always"})
    await asyncio.to_thread(api.connect_container_to_network, made.id, "bridge")
    seen = await made.seen()
    assert seen.edited == ("CpuShares", "Memory", "Networks", "RestartPolicy")
    other = create_body(made.row, place.install)
    other["Labels"][names.SPEC] = "another"
    (outdated,) = await containers.seen(place.engine, place.install_id, made.row.id, body=other, image=made.image)
    assert outdated.edited == ()  # promises something else: outdated, which is another case


async def test_a_container_made_by_hand_with_our_labels_is_told(place: Place, made: Made) -> None:
    body = copy.deepcopy(made.body)
    body["HostConfig"] |= {"Privileged": True, "Binds": ["/:/host"], "CapAdd": ["SYS_ADMIN"], "PidMode": "host"}
    body |= {"Entrypoint": ["sleep"], "Cmd": ["9"], "User": "0:0", "Env": [*body["Env"], "LD_PRELOAD=/x.so"]}
    body["Labels"]["traefik.http.routers.other.rule"] = "PathPrefix(`/`)"
    await containers.remove(place.engine, made.id, force=True)
    made.id = await containers.create(place.engine, place.name(made.row), body)
    assert set((await made.seen()).edited) >= {
        *("Privileged", "Binds", "CapAdd", "PidMode", "Mounts", "MaskedPaths", "ReadonlyPaths"),
        *("Entrypoint", "Cmd", "User", "Env", "Labels"),
    }


async def test_any_single_changed_field_is_noticed(place: Place, made: Made) -> None:
    await containers.start(place.engine, made.id)
    real = await made.inspected()
    missed = {where for where, changed in _changes(real) if not differences(made.body, changed, image=made.image)}
    assert missed == HARMLESS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Devices", [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rwm"}]),
        ("DeviceRequests", [{"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]], "Options": {}}]),
        ("PortBindings", {"22/tcp": []}),
        ("VolumesFrom", ["other"]),
        ("Links", ["/other:/this/other"]),
        ("Sysctls", {"net.ipv4.ip_forward": "1"}),
        ("UsernsMode", "host"),
        ("CgroupParent", "/"),
        ("GroupAdd", ["0"]),
        ("SecurityOpt", ["no-new-privileges:true", "seccomp=unconfined"]),
        ("SecurityOpt", None),
        ("CapDrop", None),
        ("CapDrop", ["NET_RAW"]),
        ("PidsLimit", None),
        ("Memory", 0),
        ("MemorySwap", 1 << 40),
        ("AFieldOfALaterEngine", "on"),
    ],
)
async def test_a_dangerous_setting_is_noticed(made: Made, field: str, value: Any) -> None:
    inspected = await made.inspected()
    inspected["HostConfig"][field] = value
    assert differences(made.body, inspected, image=made.image) == (field,)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Runtime", "nvidia"),
        ("MemorySwap", -1),
        ("MemorySwappiness", -1),
        ("CapDrop", ["CAP_ALL"]),
        ("Binds", []),
        ("Annotations", {}),
        ("LogConfig", {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3", "compress": "true"}}),
    ],
)
async def test_what_another_daemon_writes_into_it_is_no_edit(made: Made, field: str, value: Any) -> None:
    inspected = await made.inspected()
    inspected["HostConfig"][field] = value
    for mount in inspected["HostConfig"]["Mounts"]:
        mount |= {"Consistency": "", "BindOptions": {"Propagation": ""}, "VolumeOptions": {"DriverConfig": {}}}
    inspected["HostConfig"]["MaskedPaths"].append("/sys/devices/virtual/powercap")
    inspected["Config"]["MacAddress"] = "02:42:0a:d5:59:03"
    assert differences(made.body, inspected, image=made.image) == ()


async def test_an_image_that_was_built_anew_is_told_as_the_image_alone(made: Made) -> None:
    anew = Image("sha256:other", (), {"Env": ["PATH=/elsewhere"], "Cmd": ["other"], "Labels": {"a": "b"}})
    inspected = await made.inspected()
    assert differences(made.body, inspected, image=anew) == ("Image",)
    assert differences(made.body, inspected, image=None) == ()


def _changes(inspected: Body) -> Iterator[tuple[str, Body]]:
    """The same container with one value changed, for every value that we answer for; None of them is harmless."""
    for part in ("HostConfig", "Config"):
        for name in inspected[part]:
            if name not in LEFT_TO_THE_DAEMON | WITHOUT_EFFECT:
                for value in _others(inspected[part][name]):
                    changed = copy.deepcopy(inspected)
                    changed[part][name] = value
                    yield f"{name} …{str(value)[-24:]}", changed
    for path, value in (("Destination", "/x"), ("Type", "bind2"), ("RW", None)):
        for each in range(len(inspected["Mounts"])):
            changed = copy.deepcopy(inspected)
            mount = changed["Mounts"][each]
            mount[path] = (not mount["RW"]) if value is None else value
            yield f"Mounts[{each}].{path}", changed
    (network,) = inspected["NetworkSettings"]["Networks"]
    for change in ({"IPAMConfig": None}, {"IPAMConfig": {"IPv4Address": "10.0.0.9"}}, {"Aliases": ["gateway"]}):
        changed = copy.deepcopy(inspected)
        changed["NetworkSettings"]["Networks"][network] |= change
        yield f"Networks {change}", changed


def _others(value: Any) -> Iterator[Any]:
    match value:
        case bool():
            yield not value
        case int():
            yield value + 1
        case str():
            yield value + "x"
        case None:
            yield from (["x"], {"x": "y"})
        case list():
            yield [*value, "x"] if all(isinstance(each, str) for each in value) else [*value, {"Target": "/x"}]
            for index, each in enumerate(value):
                yield value[:index] + value[index + 1 :]
                for other in _others(each):
                    yield [*value[:index], other, *value[index + 1 :]]
        case dict():
            yield value | {"x": "y"}
            for name, each in value.items():
                yield {key: kept for key, kept in value.items() if key != name}
                for other in _others(each):
                    yield value | {name: other}

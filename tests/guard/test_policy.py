"""What the guard lets through and what not, field by field: whatever differs from our own bodies is refused."""

from __future__ import annotations

import copy
import ipaddress
import json
from dataclasses import replace
from typing import Any

import pytest

from clawloops.errors import EngineRefused
from clawloops.guard import sight
from clawloops.guard.policy import Policy, Refused, admit, harmless
from clawloops.model.runtime import Sandbox, Size
from clawloops.runtimes import bodies, calls, names
from clawloops.runtimes.spec import create_body
from tests.guard.foreign import FOREIGN, INSTALL, NAME, ROW, Body

POLICY = Policy(INSTALL, ipaddress.IPv4Network("10.201.0.0/19"))


def _runtime(**different: Any) -> Body:
    return create_body(replace(ROW, **different), INSTALL)


def _sent(body: Body) -> Body:
    """As it comes out of the SDK and the wire."""
    read: Body = json.loads(json.dumps(body))
    return read


@pytest.mark.parametrize("size", list(Size))
@pytest.mark.parametrize("image", ["clawloops/openclaw:1", "clawloops/openclaw:2", "clawloops/openclaw@sha256:ab"])
@pytest.mark.parametrize("volume", [0, 1, 12])
def test_every_body_that_we_make_for_a_runtime_passes_as_it_is(size: Size, image: str, volume: int) -> None:
    body = _runtime(size=size, image=image, volume=volume)
    assert POLICY.container(NAME, _sent(body)) == body


def test_with_a_certificate_for_each_host_the_router_names_who_gets_it() -> None:
    install = replace(INSTALL, scheme="https", base="claw.test", port=443, resolver="acme")
    body = create_body(ROW, install)
    assert Policy(install, POLICY.pool).container(NAME, _sent(body)) == body
    with pytest.raises(Refused):
        Policy(replace(install, resolver=""), POLICY.pool).container(NAME, _sent(body))


def test_our_other_bodies_pass_as_they_are() -> None:
    canary = bodies.canary(INSTALL, "10.201.31.248/29")
    assert POLICY.container("clawloops-0a0b0c0d-u-canary", _sent(canary)) == canary
    carrier = bodies.carrier("0a0b0c0d", INSTALL.image, "clawloops-0a0b0c0d-ws-r1-3", writes=True)
    assert POLICY.container("clawloops-0a0b0c0d-c-r1-3-abcdef", _sent(carrier)) == carrier
    network = bodies.network("0a0b0c0d", "r1", "10.201.0.8/29")
    assert POLICY.network(_sent(network)) == network
    volume = bodies.volume("0a0b0c0d", "r1", 3)
    assert POLICY.volume({**_sent(volume), "DriverOpts": None}) == volume
    limits = {"Memory": 64 << 20, "MemorySwap": 4096 << 20}
    assert POLICY.update(limits) == limits
    assert POLICY.disconnect({"Container": "x", "Force": True}) == {"Container": "x", "Force": True}
    endpoint = {"IPAMConfig": {"IPv4Address": "10.201.0.10"}}
    asked = {"Container": INSTALL.edge, "EndpointConfig": endpoint}
    assert POLICY.connect(asked, network) == (INSTALL.edge, endpoint)


@pytest.mark.attacks(5)
@pytest.mark.parametrize("what", FOREIGN)
def test_a_runtime_that_differs_from_ours_is_refused(what: str) -> None:
    body = copy.deepcopy(_sent(_runtime()))
    FOREIGN[what](body)
    with pytest.raises(Refused):
        POLICY.container(NAME, body)


@pytest.mark.attacks(4, 5)
@pytest.mark.parametrize("asked", list(Sandbox))
def test_nobody_runs_in_another_sandbox_than_the_box_has_chosen(asked: Sandbox) -> None:
    install = replace(INSTALL, sandbox=asked)
    body, canary = create_body(ROW, install), bodies.canary(install, "10.201.31.248/29")
    for chosen in Sandbox:
        policy = Policy(replace(INSTALL, sandbox=chosen), POLICY.pool)
        for name, made in ((NAME, body), ("clawloops-0a0b0c0d-u-canary", canary)):
            if chosen is asked:
                assert policy.container(name, _sent(made)) == made
            else:
                with pytest.raises(Refused, match="Runtime"):
                    policy.container(name, _sent(made))


def test_of_the_engine_nothing_is_told_but_the_names_of_its_runtimes() -> None:
    told = {"Runtimes": {"runc": {"path": "runc"}, "runsc": {"path": "/opt/x", "runtimeArgs": ["y"]}}, "Name": "host"}
    assert sight.info(told, POLICY) == {"Runtimes": {"runc": {}, "runsc": {}}}


@pytest.mark.attacks(5)
def test_every_single_field_counts() -> None:
    """Take any one leaf of our own body away, or change it: it is refused, whichever that is."""
    body = _sent(_runtime())
    tried = 0
    for path in _leaves(body):
        for spoil in (_without, _changed):
            different = copy.deepcopy(body)
            spoil(different, path)
            if path[0] == "Labels" and path[1] in (names.OWNER, names.GENERATION):
                continue  # what is free in it: the hash of the rest has to fit, which the next test shows
            with pytest.raises(Refused):
                POLICY.container(NAME, different)
            tried += 1
    assert tried > 100


@pytest.mark.attacks(5)
def test_a_canary_is_ours_to_the_last_field_and_nobodys_runtime() -> None:
    body = _sent(bodies.canary(INSTALL, "10.201.31.248/29"))
    for path in _leaves(body):
        for spoil in (_without, _changed):
            different = copy.deepcopy(body)
            spoil(different, path)
            with pytest.raises(Refused):
                POLICY.container("clawloops-0a0b0c0d-u-canary", different)
    for name in (NAME, "clawloops-0a0b0c0d-u-canary2"):
        with pytest.raises(Refused):
            POLICY.container(name, body)
    with pytest.raises(Refused):  # another image that a runtime might have
        POLICY.container(
            "clawloops-0a0b0c0d-u-canary",
            _sent(bodies.canary(replace(INSTALL, image="clawloops/openclaw:2"), "10.201.31.248/29")),
        )
    with pytest.raises(Refused):  # a runtime's body in its name would be started without a look at its folders
        POLICY.container("clawloops-0a0b0c0d-u-canary", _sent(_runtime(id=names.CANARY)))


def test_the_hash_is_that_of_the_rest() -> None:
    body = _sent(_runtime())
    body["Labels"][names.OWNER] = "u2"
    with pytest.raises(Refused, match=r"clawloops\.spec"):
        POLICY.container(NAME, body)


@pytest.mark.parametrize("name", ["", "evil", NAME + "2", "clawloops-0a0b0c0d-edge", f"{NAME}/x", "x" + NAME])
def test_a_container_has_the_name_that_we_give(name: str) -> None:
    with pytest.raises(Refused):
        POLICY.container(name, _sent(_runtime()))


@pytest.mark.attacks(5)
@pytest.mark.parametrize(
    "body",
    [
        {**bodies.volume("0a0b0c0d", "r1", 0), "DriverOpts": {"type": "none", "o": "bind", "device": "/etc"}},
        {**bodies.volume("0a0b0c0d", "r1", 0), "Driver": "sshfs"},
        {**bodies.volume("0a0b0c0d", "r1", 0), "Name": "portainer_data"},
        {**bodies.volume("ffffffff", "r1", 0)},
        {**bodies.volume("0a0b0c0d", "r1", 0), "ClusterVolumeSpec": {}},
        {**bodies.volume("0a0b0c0d", "r1", 0), "Labels": {}},
        {},
        [],
        None,
        "x",
    ],
)
def test_a_volume_that_differs_from_ours_is_refused(body: Any) -> None:
    with pytest.raises(Refused):
        POLICY.volume(body)


@pytest.mark.attacks(5)
@pytest.mark.parametrize(
    "different",
    [
        {"Internal": False},
        {"Options": {}},
        {"Options": {bodies.INHIBIT: "true", "com.docker.network.bridge.name": "docker0"}},
        {"Driver": "host"},
        {"Driver": "macvlan", "Options": {"parent": "eth0"}},
        {"EnableIPv6": True},
        {"Attachable": True},
        {"Ingress": True},
        {"Labels": {}},
        {"Name": "bridge"},
        {"IPAM": {"Driver": "default", "Config": [{"Subnet": "10.201.0.0/24", "Gateway": "10.201.0.1"}]}},
        {"IPAM": {"Driver": "default", "Config": [{"Subnet": "192.168.1.0/29", "Gateway": "192.168.1.1"}]}},
        {"IPAM": {"Driver": "default", "Config": []}},
        {"ConfigFrom": {"Network": "host"}},
    ],
)
def test_a_network_that_differs_from_ours_is_refused(different: Body) -> None:
    with pytest.raises(Refused):
        POLICY.network({**bodies.network("0a0b0c0d", "r1", "10.201.0.8/29"), **different})


@pytest.mark.parametrize(
    "body",
    [
        {"Memory": 64 << 20},
        {"Memory": float("inf"), "MemorySwap": 1},
        {"Memory": 0, "MemorySwap": 1},
        {"Memory": 1 << 40, "MemorySwap": 1 << 41},
        {"Memory": 64 << 20, "MemorySwap": -1},
        {"Memory": 64 << 20, "MemorySwap": 4096 << 20, "RestartPolicy": {"Name": "always"}},
        {"Memory": 64 << 20, "MemorySwap": 4096 << 20, "PidsLimit": -1},
        {"Memory": 64 << 20, "MemorySwap": 4096 << 20, "Devices": []},
    ],
)
def test_other_limits_than_memory_are_not_changed(body: Body) -> None:
    with pytest.raises(Refused):
        POLICY.update(body)


@pytest.mark.parametrize(
    "body",
    [
        {"Container": INSTALL.edge, "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.201.0.11"}}},
        {"Container": "r", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.201.0.10"}}},
        {"Container": "r", "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.201.0.11"}, "Aliases": ["x"]}},
        {"Container": "r"},
        *(
            {"Container": name, "EndpointConfig": {"IPAMConfig": {"IPv4Address": "10.201.0.11"}}}
            for name in ("x/json?", "../images/x", "a b", "", "x%2f", ".", "é")
        ),
    ],
)
def test_whoever_is_put_on_a_network_gets_its_own_address(body: Body) -> None:
    with pytest.raises(Refused):
        POLICY.connect(body, bodies.network("0a0b0c0d", "r1", "10.201.0.8/29"))


@pytest.mark.attacks(5)
@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("POST", "/v1.23/containers/abc/start", []),  # took a HostConfig with it
        ("POST", "/v1.9/containers/create", []),
        ("GET", "/containers/abc%2e%2e/json", []),
        ("GET", "/containers/abc/../../secrets", []),
        ("GET", "//containers/json", []),
        ("GET", "/containers/abc/export", []),
        ("GET", "/containers/abc/top", []),
        ("POST", "/containers/abc/exec", []),
        ("POST", "/containers/abc/attach", []),
        ("POST", "/containers/abc/rename", [("name", "x")]),
        ("POST", "/containers/abc/resize", []),
        ("POST", "/commit", []),
        ("POST", "/build", []),
        ("POST", "/images/create", []),
        ("POST", "/images/load", []),
        ("DELETE", "/images/x", [("tag", "1")]),
        ("POST", "/containers/x/restart", [("t", "0")]),
        ("POST", "/containers/prune", []),
        ("POST", "/volumes/prune", []),
        ("POST", "/swarm/init", []),
        ("POST", "/session", []),
        ("POST", "/grpc", []),
        ("GET", "/plugins", []),
        ("POST", "/info", []),
        ("GET", "/secrets", []),
        ("get", "/containers/json", []),
        ("DELETE", "/containers/abc", [("v", "true")]),
        ("DELETE", "/containers/abc", [("v", "1")]),
        ("DELETE", "/containers/abc", [("link", "1")]),
        ("DELETE", "/containers/abc", [("v", "0"), ("v", "1")]),
        ("POST", "/containers/abc/kill", [("signal", "SIGUSR1")]),
        ("POST", "/containers/abc/start", [("checkpoint", "x")]),
        ("POST", "/containers/create", [("name", "x"), ("platform", "y")]),
        ("GET", "/containers/abc/json", [("size", "1")]),
        ("GET", "/system/df", [("type", "image")]),
        ("GET", "/containers/json", [("filters", '{"before": ["x"]}')]),
        ("GET", "/containers/json", [("filters", "[]")]),
        ("GET", "/v" + "4" * 5000 + ".1/version", []),
    ],
)
def test_calls_outside_the_table_and_other_parameters_are_refused(
    method: str, path: str, query: list[tuple[str, str]]
) -> None:
    with pytest.raises(Refused):
        admit(method, path, query)


def test_a_name_is_replaced_where_it_stands_and_nowhere_else() -> None:
    found = admit("GET", "/v1.41/containers/containers/json", [])
    assert (found.name, found.path("f" * 4)) == ("containers", "/v1.41/containers/ffff/json")
    assert admit("GET", "/version", []).path() == "/version"


def test_every_name_in_a_path_is_bound_to_something_of_ours() -> None:
    for call in calls.TABLE:
        assert ("(?P<name>" in call.path) == (call.target is not calls.Target.NOTHING), call


@pytest.mark.attacks(7)
@pytest.mark.parametrize("label", ["traefik.enable", "Traefik.http.routers.x.rule", "clawloops.managed"])
def test_an_image_that_brings_labels_of_ours_is_refused(label: str) -> None:
    harmless({"Config": {"Labels": {"org.opencontainers.image.title": "x"}}})
    harmless({"Config": {"Labels": None}})
    with pytest.raises(EngineRefused, match="the image carries the label"):
        harmless({"Config": {"Labels": {label: "true"}}})


def test_events_of_others_are_not_passed_on() -> None:
    def event(kind: str, **attributes: str) -> bytes:
        return json.dumps({"Type": kind, "Action": "start", "Actor": {"ID": "1", "Attributes": attributes}}).encode()

    ours = event("container", **{names.INSTALL: "0a0b0c0d", "name": NAME, "traefik.enable": "true"})
    assert json.loads(sight.event(ours, POLICY)) == {**json.loads(ours), "time": None}
    told = json.loads(ours.replace(b'"start"', b'"exec_start: psql -c secret"'))
    assert json.loads(sight.event(json.dumps(told).encode(), POLICY))["Action"] == "exec_start"
    assert json.loads(sight.route_event(ours, POLICY))["Actor"]["Attributes"] == {"name": NAME}
    assert sight.event(event("network", name=NAME), POLICY)
    assert sight.route_event(event("network", name=NAME), POLICY) == b""
    for other in (
        event("container", name="nextcloud"),
        event("container", **{names.INSTALL: "ffffffff", "name": "x"}),
        event("volume", name="clawloops-0a0b0c0d-ws-r1"),
        event("network", name="bridge"),
        b"{", b"[]", b"7", b"null", b'{"Type": "container"}', b'{"Type": "container", "Actor": {"Attributes": null}}',
    ):  # fmt: skip
        assert sight.event(other, POLICY) == b"", other


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict) and value:
        return [leaf for name, each in value.items() for leaf in _leaves(each, (*path, name))]
    if isinstance(value, list) and value:
        return [leaf for at, each in enumerate(value) for leaf in _leaves(each, (*path, at))]
    return [path]


def _inside(body: Any, path: tuple[Any, ...]) -> Any:
    for step in path[:-1]:
        body = body[step]
    return body


def _without(body: Body, path: tuple[Any, ...]) -> None:
    del _inside(body, path)[path[-1]]


def _changed(body: Body, path: tuple[Any, ...]) -> None:
    holder = _inside(body, path)
    value = holder[path[-1]]
    holder[path[-1]] = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}x"


def test_only_an_older_tag_of_openclaws_own_image_may_go() -> None:
    mine = INSTALL.image.partition(":")[0]
    assert POLICY.may_remove(f"{mine}:0-older")
    assert not any(POLICY.may_remove(each) for each in (INSTALL.image, mine, f"{mine}@sha256:ab", "debian:12"))

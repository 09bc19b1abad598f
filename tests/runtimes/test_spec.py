"""The create body and OpenClaw's configuration, held against the design letter by letter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clawloops.model.provider import Model, Place
from clawloops.model.runtime import Runtime, Want
from clawloops.runtimes import names, openclaw
from clawloops.runtimes.spec import Install, create_body, spec_hash

INSTALL = Install(
    install_id="0a0b0c0d", data="/srv/claw", edge="clawloops-0a0b0c0d-edge", image="clawloops/openclaw:1", port=8080
)
SECURE = replace(INSTALL, scheme="https", base="claw.example.org", port=443)
RUNTIME = Runtime("r0011", "u42", "brave-otter", Want.RUNNING, "10.201.0.8/29", 3, b"x", 1, 0, "", 0, 0)
MODEL = Model("m1", "team-small", (Place("b1", "llama:1b"),), 32768, 4096, False, 0)


@pytest.mark.attacks(4)
def test_the_host_config_is_the_hardened_one() -> None:
    assert create_body(RUNTIME, INSTALL)["HostConfig"] == {
        "NetworkMode": "clawloops-0a0b0c0d-u-r0011",
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=512m,mode=1777"},
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Privileged": False,
        "PidsLimit": 512,
        "Memory": 2147483648,
        "MemorySwap": 4294967296,
        "NanoCpus": 2000000000,
        "Init": True,
        "IpcMode": "private",
        "Mounts": [
            {"Type": "bind", "Source": "/srv/claw/runtimes/r0011/config", "Target": "/etc/openclaw", "ReadOnly": True},
            {"Type": "bind", "Source": "/srv/claw/runtimes/r0011/secret", "Target": "/run/clawloops", "ReadOnly": True},
            {"Type": "volume", "Source": "clawloops-0a0b0c0d-ws-r0011", "Target": "/home/node"},
        ],
        "Dns": ["10.201.0.10"],
        "ExtraHosts": ["clawloops-gateway:10.201.0.10"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        "RestartPolicy": {"Name": "no"},
    }


def test_the_rest_of_the_body_names_no_secret_and_fixes_host_name_and_address() -> None:
    body = create_body(RUNTIME, INSTALL)
    assert (body["User"], body["Hostname"], body["StopTimeout"]) == ("1000:1000", "oc-r0011", 330)
    endpoints = body["NetworkingConfig"]["EndpointsConfig"]
    assert endpoints == {"clawloops-0a0b0c0d-u-r0011": {"IPAMConfig": {"IPv4Address": "10.201.0.11"}}}
    assert not [line for line in body["Env"] if "KEY" in line or "TOKEN" in line or "SECRET" in line]


def test_traefik_finds_the_route_in_the_labels() -> None:
    labels = create_body(RUNTIME, INSTALL)["Labels"]
    router, auth = "traefik.http.routers.cl-r0011", "traefik.http.middlewares.cl-r0011-auth.forwardauth"
    assert labels[f"{router}.rule"] == "Host(`brave-otter.ws.clawloops.localhost`)"
    assert (labels[f"{router}.priority"], labels[f"{router}.entrypoints"]) == ("100", "web")
    assert labels[f"{router}.middlewares"] == "cl-r0011-auth"
    assert labels[f"{auth}.address"] == "http://127.0.0.1:8082/forward-auth/r0011"
    assert labels[f"{auth}.authResponseHeaders"] == "X-Clawloops-User,X-OpenClaw-Scopes,Authorization,Cookie"
    assert labels[f"{auth}.trustForwardHeader"] == "false"
    assert labels["traefik.http.services.cl-r0011.loadbalancer.server.url"] == "http://10.201.0.11:18789"
    assert labels["traefik.docker.allownonrunning"] == "true", "a pause would lose the route"
    assert (labels["clawloops.owner"], labels["clawloops.generation"]) == ("u42", "3")
    assert f"{router}.tls" not in labels
    secure = create_body(RUNTIME, SECURE)["Labels"]
    assert (secure[f"{router}.tls"], secure[f"{router}.entrypoints"]) == ("true", "websecure")
    assert f"{router}.tls.certresolver" not in secure
    own = create_body(RUNTIME, replace(SECURE, resolver="acme"))
    assert own["Labels"][f"{router}.tls.certresolver"] == "acme"
    assert spec_hash(own) != spec_hash(create_body(RUNTIME, SECURE))


def test_the_spec_hash_changes_with_what_needs_a_new_container_and_with_nothing_else() -> None:
    first = spec_hash(create_body(RUNTIME, INSTALL))
    for same in (replace(RUNTIME, version=9, failures=2, want=Want.STOPPED, retry_at=5),):
        assert spec_hash(create_body(same, INSTALL)) == first
    for other in (replace(INSTALL, memory_mb=1024), replace(INSTALL, image="clawloops/openclaw:2")):
        assert spec_hash(create_body(RUNTIME, other)) != first
    assert spec_hash(create_body(replace(RUNTIME, generation=4), INSTALL)) != first


def test_names_are_told_apart_from_those_of_another_install() -> None:
    assert names.runtime_of(names.network("0a0b0c0d", "r1"), "0a0b0c0d") == "r1"
    assert names.runtime_of(names.network("0a0b0c0d", "r1"), "ffffffff") is None
    assert names.runtime_of("bridge", "0a0b0c0d") is None


def test_the_configuration_trusts_the_edge_alone_and_names_the_exact_origin() -> None:
    gateway = openclaw.render(RUNTIME, INSTALL, [])["gateway"]
    assert gateway["trustedProxies"] == ["10.201.0.10"]
    assert gateway["auth"]["trustedProxy"]["allowUsers"] == ["u42", "clawloops-control"]
    assert gateway["controlUi"]["allowedOrigins"] == ["http://brave-otter.ws.clawloops.localhost:8080"]
    assert "publicOrigin" not in gateway
    secure = openclaw.render(RUNTIME, SECURE, [])["gateway"]
    assert secure["publicOrigin"] == "https://brave-otter.ws.claw.example.org"
    assert secure["controlUi"]["allowedOrigins"] == [secure["publicOrigin"]]


def test_the_default_model_is_the_one_marked_or_the_first_or_none() -> None:
    def primary(*models: Model) -> str | None:
        agents = openclaw.render(RUNTIME, INSTALL, models).get("agents")
        return agents["defaults"]["model"]["primary"] if agents else None

    assert primary() is None
    assert primary(MODEL) == "clawloops/team-small"
    assert primary(MODEL, replace(MODEL, name="team-large", is_default=True)) == "clawloops/team-large"
    provider = openclaw.render(RUNTIME, INSTALL, [MODEL])["models"]["providers"]["clawloops"]
    assert provider["baseUrl"] == "http://clawloops-gateway:4000/v1"
    assert provider["models"][0] == {
        "id": "team-small",
        "name": "team-small",
        "input": ["text"],
        "contextWindow": 32768,
        "maxTokens": 4096,
        "compat": {"supportsUsageInStreaming": True, "maxTokensField": "max_tokens"},
    }


def test_equal_configurations_are_equal_bytes() -> None:
    assert openclaw.text({"b": 1, "a": "ü"}) == openclaw.text({"a": "ü", "b": 1})

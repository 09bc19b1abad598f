"""Traefik gets certificates from a real ACME authority, and renews them while it runs."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from clawloops.model.certificate import Tls, describe
from clawloops.model.runtime import Runtime, Want
from clawloops.runtimes.spec import Install, create_body
from tests.tls.front import BASE, HTTP, HTTPS, Front
from tests.tls.pebble import HOST, PASSWORD, Boxed, boxed

pytestmark = [pytest.mark.docker, pytest.mark.limit(600)]  # the authority is built once, in a minute


@contextmanager
def workspace(front: Front, image: str, slug: str) -> Iterator[None]:
    """A container with the labels that a runtime has in this mode."""
    install = Install(
        install_id=front.install_id, data="/srv", edge="edge", image=image, base=BASE, scheme="https", port=443,
        resolver="acme",
    )  # fmt: skip
    runtime = Runtime("r" + slug.replace("-", ""), "u1", slug, Want.RUNNING, "10.201.0.8/29", 1, b"x", 1, 0, "", 0, 0)
    labels = create_body(runtime, install)["Labels"]
    words = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
    name = f"clawloops-test-{front.install_id}-{slug}"
    subprocess.run(
        ["docker", "run", "-d", "--name", name, "--network", "none", *words, "--entrypoint", "sleep", image, "600"],
        check=True,
        capture_output=True,
    )
    try:
        yield
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)


def test_the_dashboard_gets_a_certificate_of_its_own(by_http: Boxed) -> None:
    found = describe(by_http.front.wait_for(BASE, by_http.authority.root))
    assert found.names == (BASE,)
    with pytest.raises(ssl.SSLError):
        by_http.front.shown(HOST, ssl.create_default_context(cafile=by_http.authority.root))


async def test_a_workspaces_host_that_could_not_be_reached_is_tried_again_and_then_has_one(
    by_http: Boxed, standin: str
) -> None:
    front, certificates = by_http.front, by_http.front.certificates(Tls.ACME_HTTP)
    with workspace(front, standin, "brave-otter"):
        until = time.monotonic() + 30
        while HOST not in (await certificates.look()).problem:
            assert time.monotonic() < until, front.log()
            time.sleep(0.2)
        told = (await certificates.look()).problem
        assert "onnection refused" in told and "ERR" not in told and "\\n" not in told
        assert not await certificates.covers(HOST)
        by_http.authority.lead_back(HOST)
        assert describe(front.wait_for(HOST, by_http.authority.root)).names == (HOST,)
        assert await certificates.covers(HOST)
        until = time.monotonic() + 30
        while (await certificates.look()).problem:
            assert time.monotonic() < until, "it is still told, though nothing fails any more"
            time.sleep(0.2)


def test_nothing_but_traefik_can_read_its_keys_and_no_other_host_is_redirected_for_the_challenge(
    by_http: Boxed,
) -> None:
    (store,) = (by_http.front.data / "acme").glob("*.json")
    assert store.stat().st_mode & 0o077 == 0 and (by_http.front.data / "acme").stat().st_mode & 0o077 == 0
    assert store.name == "localhost:" + by_http.authority.directory.split(":")[2].split("/")[0] + "-acme-http.json"
    plain = urllib.request.Request(f"http://{by_http.front.address}:{HTTP}/x", headers={"Host": BASE})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.build_opener(_NoRedirect).open(plain, timeout=5)
    assert refused.value.headers["Location"] == f"https://{BASE}:{HTTPS}/x"


def test_a_private_authority_is_no_reason_for_hsts_and_the_public_one_is(by_http: Boxed, front: Front) -> None:
    assert "cl-hsts" not in (by_http.front.data / "traefik" / "traefik.yml").read_text()
    front.render(Tls.ACME_HTTP, ACME_EMAIL="ada@claw.test")
    assert "middlewares: [cl-hsts@file]" in (front.data / "traefik" / "traefik.yml").read_text()
    # With it the real Traefik starts, and says so on every answer; nobody is asked for a certificate here.
    for part in ("traefik.yml", "dynamic/clawloops.yml"):
        text = (front.data / "traefik" / part).read_text()
        text = text.replace("https://acme-v02.api.letsencrypt.org/directory", "https://127.0.0.1:9/directory")
        (front.data / "traefik" / part).write_text(text)
    with front.running():
        assert front.headers(BASE)["Strict-Transport-Security"] == "max-age=31536000"


def test_one_wildcard_comes_through_the_dns_provider_and_its_credentials_stay_with_traefik(
    docker_client: docker.DockerClient, pebble: str, tmp_path: Path
) -> None:
    with boxed(docker_client, pebble, tmp_path) as box, box.authority.dns_provider() as (endpoint, asked):
        resolvers = {"ACME_RESOLVERS": box.authority.resolver, "ACME_DNS": "httpreq"}
        (box.front.data / "acme").mkdir(parents=True)
        secret = box.front.data / "acme" / "dns.env"
        lines = {"ENDPOINT": endpoint, "USERNAME": "ada", "PASSWORD": PASSWORD, "POLLING_INTERVAL": "1"}
        secret.write_text("".join(f"HTTPREQ_{name}={value}\n" for name, value in lines.items()))
        box.front.render(Tls.ACME_DNS, authority=box.authority.own_ca, **box.settings(**resolvers))
        with box.front.running():
            found = describe(box.front.wait_for(BASE, box.authority.root))
            assert set(found.names) == {BASE, f"*.ws.{BASE}"}
            box.front.wait_for(f"any-other.ws.{BASE}", box.authority.root)
            assert set(asked) == {f"_acme-challenge.{BASE}.", f"_acme-challenge.ws.{BASE}."}
            inspected = subprocess.run(["docker", "inspect", box.front.name], capture_output=True, check=True).stdout
            assert PASSWORD not in inspected.decode() and PASSWORD not in box.front.log()
            (container,) = json.loads(inspected)
            assert [each for each in container["Config"]["Env"] if each.startswith("HTTPREQ")] == []


def test_a_credential_in_an_error_is_masked_before_it_reaches_the_log(
    docker_client: docker.DockerClient, pebble: str, tmp_path: Path
) -> None:
    with boxed(docker_client, pebble, tmp_path) as box:
        (box.front.data / "acme").mkdir(parents=True)
        address = f"http://127.0.0.1:9/{PASSWORD}"
        (box.front.data / "acme" / "dns.env").write_text(f"HTTPREQ_ENDPOINT={address}")
        more = {"ACME_DNS": "httpreq", "ACME_RESOLVERS": box.authority.resolver}
        box.front.render(Tls.ACME_DNS, authority=box.authority.own_ca, **box.settings(**more))
        with box.front.running():
            problem = box.front.data / "tls" / "problem"
            until = time.monotonic() + 30
            while not problem.exists():
                assert time.monotonic() < until, box.front.log()
                time.sleep(0.1)
            assert "***" in problem.read_text()
            assert PASSWORD not in problem.read_text() and PASSWORD not in box.front.log()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None

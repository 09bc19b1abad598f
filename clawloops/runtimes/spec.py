"""The hardened create body of a runtime, as a pure function of its row and the install. Nothing else makes one.

Field names are those of the Docker Engine API 1.41, `POST /containers/create`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clawloops.model.runtime import Limits, Runtime, Sandbox, limits
from clawloops.runtimes import names

PORT = 18789  # OpenClaw's own
DRAIN_S = 330  # OpenClaw drains a running turn for up to 315 s after SIGTERM
GATEWAY_HOST = "clawloops-gateway"
CONFIG_DIR = "/etc/openclaw"
SECRET_DIR = "/run/clawloops"  # noqa: S105
HOME = "/home/node"
AUTH_ADDRESS = "http://127.0.0.1:8082/forward-auth"

_IMAGE = re.compile(r"(?!sha256:)[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")

_ENV = {
    "HOME": HOME,
    "OPENCLAW_STATE_DIR": f"{HOME}/.openclaw",
    "OPENCLAW_CONFIG_PATH": f"{CONFIG_DIR}/openclaw.json",
    "OPENCLAW_CONFIG_READONLY": "1",
    "OPENCLAW_NO_RESPAWN": "1",
    "OPENCLAW_OFFLINE": "1",
    "OPENCLAW_NO_AUTO_UPDATE": "1",
    "OPENCLAW_DISABLE_BONJOUR": "1",
    "DO_NOT_TRACK": "1",
    "NODE_ENV": "production",
    "MALLOC_ARENA_MAX": "2",
}
"""What OpenClaw needs whatever the image. NODE_COMPILE_CACHE and the command belong to the image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """What all runtimes of one install share."""

    install_id: str
    data: str  # absolute path of DATA, the same on the host and in the control plane
    edge: str  # name of the edge container
    image: str  # OpenClaw's image, by exact tag
    sandbox: Sandbox = Sandbox.RUNC
    memory_mb: int = 2048  # of a medium runtime
    cpus: float = 2.0  # of a medium runtime
    gateway_port: int = 4000
    egress_port: int = 3128
    base: str = "clawloops.localhost"
    scheme: str = "http"
    port: int = 80  # the one that browsers use
    resolver: str = ""  # of Traefik's, that gets a certificate for each workspace's host; "": they share one
    repositories: tuple[str, ...] = ()  # further ones that a runtime's image may come from

    @property
    def doors(self) -> frozenset[int]:
        """The ports of the edge that runtimes may reach; the canary takes every other one for a hole."""
        return frozenset({self.gateway_port, self.egress_port})

    @property
    def is_rigid(self) -> bool:
        """Whether a frozen runtime's memory stays where it is: gVisor takes no other limit until it goes on."""
        return self.sandbox is Sandbox.RUNSC

    def image_of(self, runtime: Runtime) -> str:
        """The image that it runs: the one its state belongs to, until an upgrade has moved it."""
        return runtime.image or runtime.pin or self.image

    def may_run(self, image: str) -> bool:
        """Whether a runtime may be made of it: any tag or digest of OpenClaw's repository, or of one that was named."""
        return is_image_name(image) and repository(image) in {repository(self.image), *self.repositories}

    def limits_of(self, runtime: Runtime) -> Limits:
        return limits(runtime.size, memory_mb=self.memory_mb, cpus=self.cpus)

    def host(self, slug: str) -> str:
        """The workspace's host name."""
        return f"{slug}.ws.{self.base}"

    def origin(self, slug: str) -> str:
        """The workspace's origin exactly as a browser writes it: no port where it is the scheme's own."""
        return self._origin(self.host(slug))

    @property
    def dashboard(self) -> str:
        """The dashboard's origin, written in the same way."""
        return self._origin(self.base)

    def _origin(self, host: str) -> str:
        usual = 443 if self.scheme == "https" else 80
        return f"{self.scheme}://{host}" + ("" if self.port == usual else f":{self.port}")


def is_image_name(image: str) -> bool:
    """Whether it may name an image: a repository, with a tag or a digest. An id may be any image's, and names none."""
    return _IMAGE.fullmatch(image) is not None


def repository(image: str) -> str:
    """The name of an image without its tag or digest."""
    head, slash, tail = image.partition("@")[0].rpartition("/")
    return head + slash + tail.partition(":")[0]


def create_body(runtime: Runtime, install: Install) -> dict[str, Any]:
    """The whole body, with the hash of all the rest in its `clawloops.spec` label."""
    network = names.network(install.install_id, runtime.id)
    address = names.addresses(runtime.subnet)
    env = {**_ENV, **_proxy(install), "NODE_OPTIONS": _node_options(install.limits_of(runtime))}
    body: dict[str, Any] = {
        "Image": install.image_of(runtime),
        # Fixed: after SIGKILL, OpenClaw's owner lease keeps a new host name out for up to 300 s.
        "Hostname": f"oc-{runtime.id}",
        "User": "1000:1000",
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Labels": _labels(runtime, install, address.runtime),
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "StopTimeout": DRAIN_S,
        "HostConfig": _host_config(runtime, install, network, address),
        "NetworkingConfig": endpoint(network, address),
    }
    return hashed(body)


def endpoint(network: str, address: names.Addresses) -> dict[str, Any]:
    """`NetworkingConfig` of whoever has the runtime's place on a member's network."""
    return {"EndpointsConfig": {network: {"IPAMConfig": {"IPv4Address": address.runtime}}}}


def walls(network: str, address: names.Addresses, sandbox: Sandbox) -> dict[str, Any]:
    """The part of `HostConfig` that keeps a runtime in, and the canary, which tests that, in just the same way."""
    return {
        **({} if sandbox is Sandbox.RUNC else {"Runtime": sandbox.value}),  # runc: what the Engine takes by itself
        "NetworkMode": network,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Privileged": False,
        "Init": True,
        "IpcMode": "private",
        "Dns": [address.edge],
        "ExtraHosts": [f"{GATEWAY_HOST}:{address.edge}"],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        "RestartPolicy": {"Name": "no"},
    }


def swap_bytes(memory_mb: int) -> int:
    """Memory and swap together that a container with this limit may use, in bytes: all of its memory fits into swap."""
    return 2 * memory_mb * 1024 * 1024


def spec_hash(body: Mapping[str, Any]) -> str:
    """The hash that a create body carries: a container with another one is not what we want now."""
    return str(body["Labels"][names.SPEC])


def hashed(body: dict[str, Any]) -> dict[str, Any]:
    """The body with the hash of all the rest in its `clawloops.spec` label."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    body["Labels"][names.SPEC] = hashlib.sha256(text.encode()).hexdigest()[:32]
    return body


def _proxy(install: Install) -> dict[str, str]:
    """The way to the internet, for OpenClaw and for what its agent runs. Tools differ in which spelling they read.

    Not OpenClaw's own `proxy.proxyUrl`: that would send the calls of models there too.
    """
    address = f"http://{GATEWAY_HOST}:{install.egress_port}"
    direct = f"{GATEWAY_HOST},localhost,127.0.0.1,::1"
    names = {"HTTP_PROXY": address, "HTTPS_PROXY": address, "NO_PROXY": direct}
    return {**names, **{name.lower(): value for name, value in names.items()}, "NODE_USE_ENV_PROXY": "1"}


def _node_options(allowed: Limits) -> str:
    """A heap of 768 MiB in 2 GiB (measured): the first tool call of a session needs the rest for a moment."""
    return f"--max-old-space-size={max(640, allowed.memory_mb * 3 // 8)} --max-semi-space-size=16"


def _host_config(runtime: Runtime, install: Install, network: str, address: names.Addresses) -> dict[str, Any]:
    folder = f"{install.data}/runtimes/{runtime.id}"
    allowed = install.limits_of(runtime)
    volume = names.volume(install.install_id, runtime.id, runtime.volume)
    return {
        **walls(network, address, install.sandbox),
        "Tmpfs": {"/tmp": "rw,noexec,nosuid,nodev,size=512m,mode=1777"},  # noqa: S108
        "PidsLimit": allowed.pids,
        "Memory": allowed.memory_mb * 1024 * 1024,
        "MemorySwap": swap_bytes(allowed.memory_mb),
        "NanoCpus": int(allowed.cpus * 1_000_000_000),
        # Directories, because a bind of a single file would break the atomic replace. As `Mounts` and not `Binds`:
        # a source that is missing is then refused, and not made by the Engine as an empty folder of root.
        "Mounts": [
            {"Type": "bind", "Source": f"{folder}/config", "Target": CONFIG_DIR, "ReadOnly": True},
            {"Type": "bind", "Source": f"{folder}/secret", "Target": SECRET_DIR, "ReadOnly": True},
            {"Type": "volume", "Source": volume, "Target": HOME},
        ],
    }


def _labels(runtime: Runtime, install: Install, address: str) -> dict[str, str]:
    route = f"cl-{runtime.id}"
    router, auth = f"traefik.http.routers.{route}", f"traefik.http.middlewares.{route}-auth.forwardauth"
    labels = {
        **names.labels(install.install_id, runtime.id),
        names.OWNER: runtime.owner,
        names.GENERATION: str(runtime.generation),
        "traefik.enable": "true",
        # Traefik drops the route of a paused container when it next looks at Docker, and hears of no unpause. So it
        # keeps the route whatever the state, with an address that it need not ask for; ForwardAuth decides who passes.
        "traefik.docker.allownonrunning": "true",
        f"{router}.rule": f"Host(`{install.host(runtime.slug)}`)",
        f"{router}.priority": "100",
        f"{router}.entrypoints": "websecure" if install.scheme == "https" else "web",
        f"{router}.service": route,
        f"{router}.middlewares": f"{route}-auth",
        f"{auth}.address": f"{AUTH_ADDRESS}/{runtime.id}",
        # Traefik strips the client's copies of exactly these, and sets what ForwardAuth answered.
        f"{auth}.authResponseHeaders": "X-Clawloops-User,X-OpenClaw-Scopes,Authorization,Cookie",
        # Traefik writes X-Forwarded-* of the auth call itself; the client's are never believed.
        f"{auth}.trustForwardHeader": "false",
        f"traefik.http.services.{route}.loadbalancer.server.url": f"http://{address}:{PORT}",
    }
    if install.scheme == "https":
        labels[f"{router}.tls"] = "true"
    if install.resolver:
        labels[f"{router}.tls.certresolver"] = install.resolver
    return labels

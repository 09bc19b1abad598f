"""The settings, read once from the environment. Only `app.py` and what starts a process import this module.

`install.sh` writes them to `DATA/.env`, and `docker-compose.yml` hands them to the container; README.md documents each
(a test holds the two against each other).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from clawloops.errors import SetupError
from clawloops.gateway.destinations import networks
from clawloops.model.certificate import Tls
from clawloops.model.runtime import Sandbox
from clawloops.runtimes.spec import Install, is_image_name

ACME_RESOLVER = "acme"  # its name in traefik/traefik.yml


def _setting(default: str | None, doc: str) -> Any:
    """A field read from `CLAWLOOPS_<NAME>`; None as default makes it mandatory."""
    return field(metadata={"default": default, "doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    install_id: str = _setting(None, "8 hex digits in the names and labels of everything this install makes in Docker")
    data: Path = _setting("/var/lib/clawloops", "folder of everything but workspaces; the same path inside and outside")
    database_url: str = _setting("", "sqlite:///PATH or postgresql://USER@HOST/NAME; empty: SQLite in the data folder")
    database_password_file: str = _setting("", "file that holds the PostgreSQL password")
    base: str = _setting("clawloops.localhost", "host name of the dashboard; workspaces are at SLUG.ws.BASE")
    tls: Tls = _setting("none", "none (plain HTTP, only for *.localhost), own, acme-http, acme-dns or files")
    tls_certificate: str = _setting("", "with CLAWLOOPS_TLS=files: file of the certificate and its chain")
    tls_key: str = _setting("", "with CLAWLOOPS_TLS=files: file of its key")
    edge_address: str = _setting("", "address of Traefik on the front network, to look at the certificate it serves")
    port: int = _setting("80", "port that browsers use")
    engine: str = _setting("unix:///var/run/docker.sock", "the Docker socket; the control plane is given the guard's")
    guard: Path = _setting("/run/guard", "folder of the two sockets that the guard opens")
    edge: str = _setting("", "name of the edge container; empty: clawloops-INSTALL_ID-edge")
    runtime_pool: ipaddress.IPv4Network = _setting("10.201.0.0/19", "addresses for member networks, a /29 each")
    openclaw_image: str = _setting("clawloops/openclaw:latest", "image of a member's runtime")
    openclaw_repositories: str = _setting("", "further repositories, with commas, that a runtime's image may come from")
    sandbox: Sandbox = _setting("runc", "what workspaces run in: runc, or runsc (gVisor) where the host has it")
    runtime_memory_mb: int = _setting("2048", "memory limit of a medium runtime, MiB (OpenClaw peaks at about 1500)")
    runtime_cpus: float = _setting("2", "CPU limit of a medium runtime, cores")
    pause_after_minutes: float = _setting("15", "a runtime that nobody uses for so long is paused: it needs no CPU")
    stop_after_minutes: float = _setting("240", "a runtime that was paused for so long is stopped: it needs no memory")
    boots_at_once: int = _setting("0", "runtimes that may start at the same time; 0: one for every two cores")
    ollama_url: str = _setting("", "address of the bundled Ollama; empty where it was left out")
    litellm_url: str = _setting("", "address of the bundled LiteLLM; empty where it was left out")
    litellm_key_file: str = _setting("", "file that holds LiteLLM's internal key")
    listen: str = _setting("127.0.0.1:8081", "address of the dashboard, behind Traefik")
    auth_listen: str = _setting("127.0.0.1:8082", "address of ForwardAuth, for Traefik alone")
    models_listen: str = _setting("127.0.0.1:8083", "address of the gateway for members' own tools, behind Traefik")
    models_body_mb: int = _setting("20", "size of the largest model call, MiB; a member may have four such at once")
    gateway_port: int = _setting("4000", "port of the model gateway on every member network")
    egress_port: int = _setting("3128", "port of the proxy to the internet on every member network")
    host_addresses: str = _setting("", "this box's own addresses, with commas: no agent is to reach them")
    log_level: str = _setting("info", "debug, info, warning or error")

    @property
    def own_addresses(self) -> tuple[str, ...]:
        """IPv4 addresses of this box."""
        found = networks(self.host_addresses)
        return tuple(str(each.network_address) for each in found if each.version == 4 and each.num_addresses == 1)

    @property
    def scheme(self) -> str:
        return "http" if self.tls is Tls.NONE else "https"

    @property
    def origin(self) -> str:
        """The dashboard's origin as a browser writes it: no port where it is the scheme's own."""
        usual = 443 if self.scheme == "https" else 80
        return f"{self.scheme}://{self.base}" + ("" if self.port == usual else f":{self.port}")

    @property
    def install(self) -> Install:
        """What all runtimes of this install share."""
        return Install(
            install_id=self.install_id,
            data=str(self.data),
            edge=self.edge,
            image=self.openclaw_image,
            sandbox=self.sandbox,
            memory_mb=self.runtime_memory_mb,
            cpus=self.runtime_cpus,
            gateway_port=self.gateway_port,
            egress_port=self.egress_port,
            base=self.base,
            scheme=self.scheme,
            port=self.port,
            resolver=ACME_RESOLVER if self.tls is Tls.ACME_HTTP else "",
            repositories=tuple(self.openclaw_repositories.replace(",", " ").split()),
        )


_HOST = re.compile(r"^(?=.{1,200}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")

_PASSWORD_IN_ADDRESS = re.compile(r"\w+://[^/?#]*:[^/?#]*@|[^?]*\?(.*&)?password=", re.DOTALL)


def _complete(values: dict[str, Any]) -> dict[str, Any]:
    if not re.fullmatch(r"[0-9a-f]{8}", values["install_id"]):
        raise SetupError("CLAWLOOPS_INSTALL_ID must be 8 hex digits; run ./install.sh, which makes one")
    if not _HOST.match(values["base"]):
        raise SetupError(f"CLAWLOOPS_BASE {values['base']!r} is not a host name in lower case")
    if values["tls"] is Tls.NONE and values["base"].rsplit(".", 1)[-1] != "localhost":
        raise SetupError(
            f"plain HTTP works only for *.localhost, and CLAWLOOPS_BASE is {values['base']!r}; "
            "run ./install.sh --domain NAME, which sees to certificates"
        )
    if not 1 <= values["models_body_mb"] <= 1024:
        raise SetupError("CLAWLOOPS_MODELS_BODY_MB must be a number of MiB from 1 to 1024")
    if _PASSWORD_IN_ADDRESS.match(values["database_url"]):
        raise SetupError(
            "CLAWLOOPS_DATABASE_URL holds a password, which docker inspect would show; write that into a file, "
            "name the file in CLAWLOOPS_DATABASE_PASSWORD_FILE, and leave postgresql://USER@HOST/NAME"
        )
    values["database_url"] = values["database_url"] or f"sqlite:///{values['data']}/clawloops.db"
    if not is_image_name(values["openclaw_image"]):
        raise SetupError("CLAWLOOPS_OPENCLAW_IMAGE must be the name of an image, not its id; run ./install.sh")
    try:
        networks(values["host_addresses"])
    except ValueError as error:
        raise SetupError(f"CLAWLOOPS_HOST_ADDRESSES must hold addresses or networks ({error})") from error
    values["edge"] = values["edge"] or f"clawloops-{values['install_id']}-edge"
    return values


def load(environ: Mapping[str, str]) -> Settings:
    """Read `CLAWLOOPS_*`. Raises SetupError that names the variable and what it should hold."""
    values: dict[str, Any] = {}
    kinds: dict[str, Any] = {each.__name__: each for each in (int, float, str, Path, Tls, Sandbox)}
    kinds["ipaddress.IPv4Network"] = ipaddress.IPv4Network
    for each in fields(Settings):
        name = f"CLAWLOOPS_{each.name.upper()}"
        raw = environ.get(name) or each.metadata["default"]
        if raw is None:
            raise SetupError(f"{name} is not set: {each.metadata['doc']}; run ./install.sh to make the settings")
        try:
            values[each.name] = kinds[str(each.type)](raw)
        except ValueError as error:
            raise SetupError(f"{name}={raw!r} cannot be read ({error}): {each.metadata['doc']}") from error
    return Settings(**_complete(values))

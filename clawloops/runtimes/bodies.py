"""What we ask the Docker Engine to make beside runtimes: the canary, carriers, networks and volumes: pure functions.

Field names are those of the Docker Engine API 1.41. A runtime's own create body is in `spec.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clawloops.model.runtime import Sandbox
from clawloops.runtimes import names
from clawloops.runtimes.spec import HOME, PORT, Install, endpoint, hashed, walls

# Measured: `internal` alone leaves the bridge's address, the host's LAN address and docker0 reachable from inside.
INHIBIT = "com.docker.network.bridge.inhibit_ipv4"

# Perl, because every image that is made of Debian has it, whatever else is in it.
_CANARY = Path(__file__).with_name("canary.pl").read_text()
_CANARY_PIDS = {Sandbox.RUNC: 16, Sandbox.RUNSC: 96}  # gVisor's own threads count, too: it does not start with 32
_CANARY_BYTES = 48 * 1024 * 1024  # it uses 8 MiB


def canary(install: Install, subnet: str) -> dict[str, Any]:
    """The standing canary: in a runtime's place, behind a runtime's walls, of its image, and with nothing to keep."""
    network, address = names.network(install.install_id, names.CANARY), names.addresses(subnet)
    body: dict[str, Any] = {
        "Image": install.image,
        "Hostname": names.CANARY,
        "User": "1000:1000",
        "Env": [],
        "Labels": names.labels(install.install_id, names.CANARY),
        "Healthcheck": {"Test": ["NONE"]},
        "Entrypoint": ["perl", "-e", _CANARY],
        "Cmd": [str(PORT)],
        "HostConfig": {
            **walls(network, address, install.sandbox),
            "PidsLimit": _CANARY_PIDS[install.sandbox],
            "Memory": _CANARY_BYTES,
            "MemorySwap": _CANARY_BYTES,
            "NanoCpus": 250_000_000,
            "Mounts": [],
        },
        "NetworkingConfig": endpoint(network, address),
    }
    return hashed(body)


def carrier(install_id: str, image: str, volume: str, *, writes: bool) -> dict[str, Any]:
    """A container that is never started. It has no runtime label, so that the loop never takes it for a runtime."""
    return {
        "Image": image,
        "Entrypoint": ["/a-carrier-is-never-started"],
        "Cmd": [],
        "User": "1000:1000",
        "Labels": {names.MANAGED: "true", names.INSTALL: install_id, names.CARRIER: "true"},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": volume,
                    "Target": HOME,
                    "ReadOnly": not writes,
                    # Else the Engine would fill a new volume with what the image has there.
                    "VolumeOptions": {"NoCopy": True},
                }
            ],
            "RestartPolicy": {"Name": "no"},
        },
    }


def network(install_id: str, runtime_id: str, subnet: str) -> dict[str, Any]:
    """A member's network: internal, an explicit /29, no address on the host's bridge."""
    return {
        "Name": names.network(install_id, runtime_id),
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Internal": True,
        "Options": {INHIBIT: "true"},
        "IPAM": {"Driver": "default", "Config": [{"Subnet": subnet, "Gateway": names.addresses(subnet).gateway}]},
        "Labels": names.labels(install_id, runtime_id),
    }


def volume(install_id: str, runtime_id: str, number: int) -> dict[str, Any]:
    """A workspace volume; the first ones were made without their number among the labels.

    Without `DriverOpts`: with `o=bind` a "local" volume is any folder of the host.
    """
    return {
        "Name": names.volume(install_id, runtime_id, number),
        "Driver": "local",
        "Labels": {**names.labels(install_id, runtime_id), names.VOLUME: str(number)},
    }

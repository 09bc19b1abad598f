"""Other versions of the stand-in runtime, each of another image id: what an upgrade may meet."""

from __future__ import annotations

import io

import docker
import docker.errors

_LINES = {
    "new": "LABEL org.example.version=new",
    "newer": "LABEL org.example.version=newer",
    "broken": 'ENTRYPOINT ["bash", "-c", "echo half-migrated > /home/node/state; exit 1"]',
    "slow": 'ENTRYPOINT ["bash", "-c", "echo half-migrated > /home/node/state; exec sleep infinity"]',
    "mute": 'ENTRYPOINT ["bash", "-c", "echo no answer > /home/node/fails; exec /usr/bin/perl /runtime.pl"]',
    "foreign": "LABEL traefik.http.routers.mine.rule=PathPrefix(`/`)",
}


def version(client: docker.DockerClient, standin: str, name: str) -> str:
    """The tag of one: built once, then reused."""
    tag = f"{standin}-{name}"
    try:
        client.images.get(tag)
    except docker.errors.ImageNotFound:
        client.images.build(fileobj=io.BytesIO(f"FROM {standin}\n{_LINES[name]}\n".encode()), tag=tag, rm=True)
    return tag

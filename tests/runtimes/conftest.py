"""The real Docker Engine and a place in it, shared with the orchestrator tests."""

from tests.standin.fixtures import docker_client, place, standin

__all__ = ["docker_client", "place", "standin"]

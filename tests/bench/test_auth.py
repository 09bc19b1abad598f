"""The benchmark of ForwardAuth: all is measured, and judged."""

from __future__ import annotations

import pytest

from tests.bench.measured import measured, promised


@pytest.mark.docker  # for Traefik's image; nginx and wrk come with what `tests/run` installs beside Docker
def test_every_promise_is_measured_beside_its_peers() -> None:
    figures = measured("auth")
    assert promised(figures) == {
        "RPS / nginx's return 200": (0.30, 0.85),
        "added p99, one connection": (2, None),
        "added p99, 50 requests a second": (2, None),
        "revoked until refused": (1000, None),
    }
    assert figures["forward-auth: 32 connections"]["value"] > 100
    assert figures["revoked until refused"]["ok"]

"""The benchmark of ForwardAuth: all is measured, and judged."""

from __future__ import annotations

import pytest

from tests.bench.measured import measured, promised


@pytest.mark.docker  # not for Docker's sake: nginx and wrk come with what `tests/run` installs beside it
def test_every_promise_is_measured_beside_its_peers() -> None:
    figures = measured("auth")
    assert promised(figures) == {"RPS / nginx's return 200": (0.30, 0.85)}
    assert figures["forward-auth: 32 connections"]["value"] > 100

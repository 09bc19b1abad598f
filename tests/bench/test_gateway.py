"""The benchmark of the gateway: all is measured, and judged."""

from __future__ import annotations

import pytest

from clawloops.bench.report import Figure
from tests.bench.measured import measured, promised


@pytest.mark.docker  # not for Docker's sake: nginx and wrk come with what `tests/run` installs beside it
def test_every_promise_is_measured_beside_its_peers() -> None:
    figures = measured("gateway")
    # What is promised, so that no gate is raised and no line is lost without anybody's notice.
    assert promised(figures) == {
        "RPS / nginx's": (0.45, 0.70),
        "RPS / LiteLLM's": (150, 250),
        "added p50 / nginx's": (2.5, 1.3),
        "settled counts that were lost": (0, 0),
        "memory when idle": (80, 55),
        "ready / LiteLLM's": (0.1, 0.05),
        "added time to the first chunk": (0.5, 0.2),
        "CPU per chunk / nginx's": (2.2, 1.25),
    }
    assert figures["settled counts that were lost"]["ok"]
    assert figures["clawloops: 32 connections"]["value"] > 100


def test_a_gate_from_below_holds_from_there_on() -> None:
    figure = Figure(name="RPS", value=0.4, unit="x", gate=0.45, more_is_better=True)
    assert not figure.ok
    assert Figure(name="RPS", value=0.45, unit="x", gate=0.45, more_is_better=True).ok

"""What every test shares: a time limit for each, a folder for artefacts, and the markers of `tests/run`."""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType

import pytest

from clawloops import log

pytest_plugins = ["tests.attacks"]

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 120.0
END_S = 60.0


def pytest_configure(config: pytest.Config) -> None:
    for line in (
        "limit(seconds): this test may take longer than the usual limit (also counts its fixtures)",
        "faults: a part breaks, or its input is bad",
        "attacks(row, …): a hostile runtime, browser or neighbour; rows of tests/attacks.py",
        "browser: needs Chromium",
        "litellm: needs LiteLLM's own environment",
        "oidc: needs a real OpenID Connect server, on Node",
        "long: minutes with a real part, for what shorter tests show as well; not in the whole run (tests/run long)",
        "vllm: a real vLLM, in an environment of its own (tests/run vllm)",
    ):
        config.addinivalue_line("markers", line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """No test hangs: after its limit it fails with the line at which it stood, and the next one runs."""
    marker = item.get_closest_marker("limit")
    seconds = float(marker.args[0]) if marker else LIMIT_S

    def out_of_time(signum: int, frame: FrameType | None) -> None:
        pytest.fail(f"still running after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, out_of_time)
    # It rings again, so that a clean-up which hangs as well is ended too.
    signal.setitimer(signal.ITIMER_REAL, seconds, 60.0)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Nor does the end hang: Python joins every thread that a test left, and names here the one that it waits for."""
    faulthandler.dump_traceback_later(END_S, exit=True, file=2)


@pytest.fixture(scope="session")
def artifacts() -> Path:
    """Where screenshots and logs are kept after the run (not in git)."""
    folder = Path(os.environ.get("CLAWLOOPS_TEST_ARTIFACTS") or ROOT / "artifacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """The log as a process of ours writes it, from `info` on."""
    root, server, told = logging.getLogger(), logging.getLogger("aiohttp.server"), io.StringIO()
    before = root.handlers[:], root.level, server.filters[:]
    monkeypatch.setattr(sys, "stderr", told)
    log.configure("info")
    yield told
    root.handlers[:], server.filters[:] = before[0], before[2]
    root.setLevel(before[1])

"""The benchmark of pages: each is asked for and weighed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from clawloops.bench.pages import PAGES
from tests.bench.measured import ROOT, promised


@pytest.mark.docker
@pytest.mark.parametrize("database", [[], ["--postgresql"]], ids=["sqlite", "postgresql"])
def test_every_page_is_measured(database: list[str]) -> None:
    arguments = ["pages", "--json", "--members", "3", "--calls", "500", "--visits", "3", *database]
    done = subprocess.run(
        [sys.executable, "-m", "clawloops", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    figures = {each["name"]: each for each in json.loads(done.stdout)}
    assert promised(figures) == {
        **{f"{path}, p50": (10, None) for path in PAGES},
        **{f"{path}, first visit": (60, None) for path in PAGES},
    }
    assert all(2 < figures[f"{path}, first visit"]["value"] < 60 for path in PAGES)

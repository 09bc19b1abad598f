"""Runs a benchmark as from a shell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

Figures = dict[str, dict[str, Any]]


def measured(name: str) -> Figures:
    """What it finds, by name, in rounds so short that it says nothing of speed."""
    done = subprocess.run(
        [sys.executable, "-m", "clawloops", "bench", name, "--json", "--rounds", "1", "--seconds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout, done.stderr
    return {each["name"]: each for each in json.loads(done.stdout)}


def promised(figures: Figures) -> dict[str, tuple[float, float | None]]:
    """The gate of each that has one, and its moonshot."""
    return {name: (each["gate"], each["moonshot"]) for name, each in figures.items() if each["gate"] is not None}

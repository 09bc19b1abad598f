"""The box that every test of this folder talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web.box import Box
from tests.web.opened import opened_box


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    async with opened_box(tmp_path) as made:
        yield made

"""What the tests of this folder share: a gateway, the scriptable upstream behind it, and LiteLLM between the two."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.gate import Gateway, open_gateway
from tests.gateway.translator import behind, litellm
from tests.upstream import Upstream, serve

__all__ = ["behind", "gateway", "litellm", "upstream"]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with serve() as running:
        yield running


@pytest.fixture
async def gateway(upstream: Upstream) -> AsyncIterator[Gateway]:
    async with open_gateway(upstream) as running:
        yield running

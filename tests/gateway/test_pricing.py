"""Prices: as the real LiteLLM tells them, for the places that they are for."""

from __future__ import annotations

import pytest

from clawloops.errors import BackendUnavailable
from clawloops.gateway.pricing import price_in, price_table, table_of
from clawloops.gateway.resolve import upstream_session
from clawloops.model.provider import Backend, BackendKind
from clawloops.model.usage import Price, Tokens
from tests.gateway.translator import LiteLLM


def _backend(kind: BackendKind, *, provider: str = "", url: str = "") -> Backend:
    return Backend("b0", "Lab", kind, url, provider, 1)


@pytest.mark.litellm
async def test_litellms_own_table_prices_models_at_their_provider_alone(litellm: LiteLLM) -> None:
    async with upstream_session() as session:
        table = await price_table(session, litellm.url)
        with pytest.raises(BackendUnavailable, match="LiteLLM does not"):
            await price_table(session, "http://127.0.0.1:1")
    assert len(table) > 1000
    anthropic = _backend(BackendKind.LITELLM, provider="anthropic")
    assert price_in(table, anthropic, "claude-sonnet-4-5") == Price(3_000_000, 15_000_000, 300_000)
    assert price_in(table, anthropic, "gpt-4o") is None
    gemini = _backend(BackendKind.LITELLM, provider="gemini")
    assert price_in(table, gemini, "gemini-2.5-flash") == Price(300_000, 2_500_000, 30_000)
    openai = _backend(BackendKind.OPENAI, url="https://api.openai.com/v1")
    assert price_in(table, openai, "gpt-4o") == Price(2_500_000, 10_000_000, 1_250_000)
    assert price_in(table, _backend(BackendKind.OPENAI, url="http://192.168.1.20:8000/v1"), "gpt-4o") is None
    assert price_in(table, _backend(BackendKind.OLLAMA, url="http://ollama:11434"), "gpt-4o") is None


@pytest.mark.parametrize("raw", [b"", b"[]", b"<html>", b"{"])
def test_what_is_no_table_is_refused(raw: bytes) -> None:
    with pytest.raises(BackendUnavailable, match="cannot be read"):
        table_of(raw)


def test_odd_entries_are_left_out() -> None:
    entries = b'{"a": {"input_cost_per_token": "3"}, "b": 5, "c": {"input_cost_per_token": 2e-6}, "d": {}}'
    assert table_of(entries) == {"c": ("", Price(2_000_000, 0, 2_000_000))}


def test_a_call_costs_what_its_tokens_do_rounded_up() -> None:
    price = Price(input=3_000_000, output=15_000_000, cached=300_000)
    assert price.cost(Tokens()) == 0
    assert price.cost(Tokens(input=1, cached=1)) == 1
    assert price.cost(Tokens(input=1_000_000, output=10, cached=400_000)) == 600_000 * 3 + 120_000 + 150

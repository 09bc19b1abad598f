"""What LiteLLM's table says a model costs. The table is asked for at the bundled LiteLLM, so that it is of its version.

Its form: https://docs.litellm.ai/docs/provider_registration (`model_prices_and_context_window.json`): an entry for each
model, with costs in US dollars per token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
from yarl import URL

from clawloops.errors import BackendUnavailable
from clawloops.model.provider import Backend, BackendKind
from clawloops.model.usage import Price

_PATH = "/public/litellm_model_cost_map"
_MOST = 32 * 1024 * 1024  # bytes
_WITHIN_S = 30
_PER_TOKEN = 10**12  # dollars per token -> µUSD per million tokens
_HOSTS = {  # OpenAI-compatible addresses that are a provider's own, and LiteLLM's name of the provider
    "api.openai.com": "openai",
    "api.mistral.ai": "mistral",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "xai",
    "api.together.xyz": "together_ai",
    "openrouter.ai": "openrouter",
}
Table = Mapping[str, tuple[str, Price]]
"""By LiteLLM's name of a model: its provider, and its price."""


async def price_table(session: aiohttp.ClientSession, litellm_url: str) -> Table:
    """Raises BackendUnavailable."""
    try:
        async with session.get(
            litellm_url.rstrip("/") + _PATH,
            headers={"Accept-Encoding": "identity"},  # the session unpacks nothing
            timeout=aiohttp.ClientTimeout(total=_WITHIN_S),
            allow_redirects=False,
        ) as answer:
            if answer.status != 200:
                raise BackendUnavailable(f"LiteLLM does not tell its prices (HTTP {answer.status}).")
            raw = await answer.content.read(_MOST)
            while len(raw) < _MOST and (more := await answer.content.read(_MOST - len(raw))):
                raw += more
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise BackendUnavailable(f"LiteLLM does not answer: {error or type(error).__name__}") from error
    return table_of(raw)


def table_of(raw: bytes) -> Table:
    """Entries that no tokens are paid for are left out. Raises BackendUnavailable when it is no such table."""
    try:
        entries = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BackendUnavailable("LiteLLM's prices cannot be read.") from error
    if not isinstance(entries, dict):
        raise BackendUnavailable("LiteLLM's prices cannot be read.")
    found: dict[str, tuple[str, Price]] = {}
    for name, entry in entries.items():
        if isinstance(entry, dict) and (price := _price(entry)) is not None:
            found[name] = (str(entry.get("litellm_provider", "")), price)
    return found


def price_in(table: Table, backend: Backend, upstream: str) -> Price | None:
    """What the table says of this model at this backend; None where it says nothing, or a model costs nothing."""
    match backend.kind:
        case BackendKind.OLLAMA:
            return None
        case BackendKind.OPENAI:
            provider = _HOSTS.get(URL(backend.url).host or "", "")
        case BackendKind.LITELLM:
            provider = backend.provider
    if not provider:
        return None
    for name in (f"{provider}/{upstream}", upstream):
        known, price = table.get(name, ("", None))
        if known == provider:
            return price
    return None


def _price(entry: Mapping[str, Any]) -> Price | None:
    input_, output = _cost(entry, "input_cost_per_token"), _cost(entry, "output_cost_per_token")
    if not input_ and not output:
        return None
    cached = _cost(entry, "cache_read_input_token_cost")
    return Price(input_ or 0, output or 0, (input_ or 0) if cached is None else cached)


def _cost(entry: Mapping[str, Any], name: str) -> int | None:
    value = entry.get(name)
    return round(value * _PER_TOKEN) if isinstance(value, (int, float)) and 0 <= value < 1 else None

"""A backend is asked what it serves and tried for real, and each way to fail says what to do next."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from clawloops.errors import BackendRefused, BackendUnavailable
from clawloops.gateway import providers
from clawloops.gateway.resolve import is_out_of_bounds, upstream_session
from clawloops.model.provider import Backend, BackendKind
from tests.gateway.gate import KEY, route
from tests.upstream import Script, Upstream


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with upstream_session() as running:
        yield running


def _backend(upstream: Upstream, kind: BackendKind = BackendKind.OPENAI, url: str | None = None) -> Backend:
    return route("x", upstream, kind=kind, url=url).targets[0].backend


async def _check(session: aiohttp.ClientSession, backend: Backend, model: str, key: str | None = KEY) -> None:
    await providers.check(session, backend, key, model=model, litellm_url="", litellm_key="")


async def _probe(session: aiohttp.ClientSession, backend: Backend, key: str | None = KEY) -> list[str]:
    return await providers.probe(session, backend, key, model=None, litellm_url="", litellm_key="")


async def test_the_models_of_a_backend_are_listed(session: aiohttp.ClientSession, upstream: Upstream) -> None:
    upstream.scripts["other"] = Script()
    assert await _probe(session, _backend(upstream)) == ["small", "other"]
    assert upstream.seen[0].authorization == f"Bearer {KEY}"
    ollama = _backend(upstream, BackendKind.OLLAMA)
    assert await _probe(session, ollama, None) == ["small:latest", "other"]
    assert await _probe(session, _backend(upstream, BackendKind.LITELLM)) == []


async def test_a_check_is_a_real_call_of_one_token(session: aiohttp.ClientSession, upstream: Upstream) -> None:
    await _check(session, _backend(upstream), f"key-{KEY}")
    assert upstream.seen[0].body["max_tokens"] == 1
    await _check(session, _backend(upstream, BackendKind.OLLAMA), "small", None)


async def test_a_model_that_refuses_max_tokens_passes_the_check(
    session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    upstream.scripts["o9"] = Script(status=400, error="Unsupported parameter: 'max_tokens'.")
    with pytest.raises(BackendRefused, match="max_tokens"):
        await _check(session, _backend(upstream), "o9")
    assert [list(seen.body)[-1] for seen in upstream.seen] == ["max_tokens", "max_completion_tokens"]


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("error-401", 401, "refused the key"),
        ("key-other", 401, "refused the key"),
        ("error-404", 404, "does not know the model 'error-404'"),
        ("error-429", 429, "refused the call"),
        ("error-500", 500, "refused the call"),
        ("error-302", 302, "refused the call"),
    ],
)
async def test_a_refusal_says_what_to_check_and_never_the_key(
    session: aiohttp.ClientSession, upstream: Upstream, model: str, status: int, words: str
) -> None:
    with pytest.raises(BackendRefused, match=words) as refused:
        await _check(session, _backend(upstream), model)
    assert refused.value.status == status
    assert KEY not in str(refused.value)


async def test_a_litellm_that_is_still_starting_is_not_blamed_on_the_provider(
    session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    backend = _backend(upstream, BackendKind.LITELLM)
    with pytest.raises(BackendUnavailable, match="LiteLLM, the part of this box") as refused:
        await providers.check(session, backend, KEY, model="small", litellm_url=nobody, litellm_key="sk-internal-key")
    assert upstream.url not in str(refused.value)


async def test_a_wrong_address_is_told_from_a_wrong_key(session: aiohttp.ClientSession, upstream: Upstream) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    dead = _backend(upstream, url=f"http://127.0.0.1:{port}/v1")
    for ask in (_probe(session, dead), _check(session, dead, "small")):
        with pytest.raises(BackendUnavailable, match=r"Nothing answers at \S+ \(Connection refused\)"):
            await ask
    for url in ("http://no-such-host.invalid/v1", "nonsense", "http://[::1", "ftp://x/v1"):
        with pytest.raises(BackendUnavailable):
            await _probe(session, _backend(upstream, url=url))


async def test_something_that_is_no_model_server_is_recognised(session: aiohttp.ClientSession) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(page, "127.0.0.1", 0) as server:
        web = Upstream()
        web.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for ask in (_probe(session, _backend(web)), _check(session, _backend(web), "small")):
            with pytest.raises(BackendRefused, match="not like a model server"):
                await ask


async def test_without_litellm_its_providers_cannot_be_added(
    session: aiohttp.ClientSession, upstream: Upstream
) -> None:
    with pytest.raises(BackendUnavailable, match="LiteLLM"):
        await _check(session, _backend(upstream, BackendKind.LITELLM), "small")


async def test_a_backend_that_is_still_loading_is_asked_again_later(
    session: aiohttp.ClientSession, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(providers, "_CHECK_LIMIT_S", 0.2)
    with pytest.raises(BackendUnavailable, match="still loading"):
        await _check(session, _backend(upstream), "hang")
    with pytest.raises(BackendUnavailable, match="not ready"):
        await _check(session, _backend(upstream), "error-503")


@pytest.mark.attacks(18)
@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "0.0.0.0"])
async def test_a_name_that_leads_to_ourselves_or_to_a_clouds_secrets_is_not_followed(
    session: aiohttp.ClientSession, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    port = int(upstream.url.rpartition(":")[2])
    answer = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    with pytest.raises(BackendUnavailable):
        await _probe(session, _backend(upstream, url=f"http://rebound.example:{port}/v1"))
    assert upstream.seen == []


@pytest.mark.parametrize(
    ("address", "out"),
    [
        *(
            ("::1", True),
            ("::ffff:127.0.0.1", True),
            ("fe80::1%eth0", True),
            ("127.8.8.8", True),
            ("169.254.169.254", True),
        ),
        *(("172.17.0.1", False), ("192.168.1.20", False), ("2001:db8::7", False)),
    ],
)
def test_a_server_on_the_lan_or_on_the_host_is_a_backend_and_this_container_is_none(address: str, out: bool) -> None:
    assert is_out_of_bounds(address) is out

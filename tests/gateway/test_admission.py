"""Who gets in, and what of a request goes on: security.md, attacks 16 to 18."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import zlib
from hashlib import sha256
from typing import Any

import aiohttp
import orjson
import pytest

from clawloops.gateway import ingress
from tests.gateway.gate import KEY, LOOPBACK, TOKEN, Gateway, listening, open_gateway
from tests.upstream import Upstream

CHAT = "/v1/chat/completions"


@pytest.fixture
async def served(gateway: Gateway) -> Gateway:
    gateway.serve_model("team-small", upstream="small")
    return gateway


async def _refusal(answer: aiohttp.ClientResponse) -> tuple[int, dict[str, Any]]:
    """The status and the error of a refusal, which must have OpenAI's shape whatever went wrong."""
    error = (await answer.json())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return answer.status, error


async def _post_raw(gateway: Gateway, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    async with gateway.session.post(gateway.url + CHAT, data=body, headers=headers) as answer:
        return await _refusal(answer)


async def test_the_models_are_listed_by_their_public_names(served: Gateway) -> None:
    async with served.session.get(f"{served.url}/v1/models") as answer:
        listed = await answer.json()
    assert listed["data"] == [
        {"id": "team-small", "object": "model", "created": 1_700_000_000, "owned_by": "clawloops"},
    ]


@pytest.mark.attacks(16)
@pytest.mark.parametrize("header", ["", "Bearer wrong", f"Basic {TOKEN}", "Bearer", TOKEN, "Bearer \udcff"])
async def test_without_a_valid_token_nothing_is_answered(served: Gateway, header: str) -> None:
    async with aiohttp.ClientSession() as nobody:
        for ask in (nobody.get(f"{served.url}/v1/models", headers={"Authorization": header}),):
            async with ask as answer:
                assert (await _refusal(answer))[0] == 401
        async with nobody.post(served.url + CHAT, data=b"{", headers={"Authorization": header}) as answer:
            assert (await _refusal(answer))[0] == 401
    assert served.upstream.seen == []


@pytest.mark.attacks(16)
async def test_a_token_from_another_address_is_refused_and_reported(served: Gateway) -> None:
    elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.9", 0))
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        aiohttp.ClientSession(connector=elsewhere, headers=headers) as thief,
        thief.post(served.url + CHAT, json={"model": "team-small", "messages": []}) as answer,
    ):
        assert (await _refusal(answer))[0] == 401
    assert served.refused == [("r-ada", "127.0.0.9")]
    assert (served.upstream.seen, served.settled) == ([], [])


@pytest.mark.attacks(16)
async def test_a_new_token_ends_the_old_one(served: Gateway) -> None:
    served.directory.set_runtime(sha256(b"next").digest(), runtime_id="r-ada", user_id="u-ada", address="127.0.0.1")
    async with served.session.get(f"{served.url}/v1/models") as answer:
        assert answer.status == 401
    async with served.session.get(f"{served.url}/v1/models", headers={"Authorization": "Bearer next"}) as answer:
        assert answer.status == 200
    served.directory.drop_runtime("r-ada")
    async with served.session.get(f"{served.url}/v1/models", headers={"Authorization": "Bearer next"}) as answer:
        assert answer.status == 401


@pytest.mark.attacks(17)
@pytest.mark.parametrize(
    "name", ["other", "small", "team-small,team-small", "Team-small", "team-small ", "openai/small", "*", "../small"]
)
async def test_only_an_exact_public_name_leads_anywhere(served: Gateway, name: str) -> None:
    async with await served.post(name) as answer:
        status, error = await _refusal(answer)
    assert (status, error["code"]) == (403, "model_not_allowed")
    assert served.upstream.seen == []


@pytest.mark.attacks(18)
@pytest.mark.parametrize(
    "field",
    [
        *("api_key", "api_base", "base_url", "extra_headers", "headers", "organization", "user_config", "extra_body"),
        *("aws_role_name", "vertex_credentials", "model_list", "fallbacks", "Api_Key", "custom_llm_provider", "mock"),
    ],
)
async def test_a_field_that_could_redirect_a_call_is_refused_by_name(served: Gateway, field: str) -> None:
    async with await served.post("team-small", **{field: "x"}) as answer:
        status, error = await _refusal(answer)
    assert (status, error["param"]) == (400, field)
    assert field in error["message"]
    assert served.upstream.seen == []


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}},
        {"type": "image_url", "image_url": " HTTPS://litellm/x"},
        {"image_url": {"url": "//litellm/x"}},
        {"type": "text", "text": "x", "image_url": {"url": "http://litellm/x"}},
        {"type": "file", "file": {"file_id": "gs://bucket/x"}},
        {"type": "image", "source": {"type": "url", "url": "file:/etc/passwd"}},
    ],
)
async def test_no_backend_is_made_to_fetch_an_address(served: Gateway, part: dict[str, Any]) -> None:
    async with await served.post("team-small", messages=[{"role": "user", "content": [part]}]) as answer:
        assert (await _refusal(answer))[0] == 400
    assert served.upstream.seen == []


async def test_texts_about_addresses_and_images_in_the_request_pass(served: Gateway) -> None:
    content = [
        {"type": "text", "text": "https://example.org says"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    messages = [{"role": "system", "content": "http://x"}, {"role": "user", "content": content}]
    async with await served.post("team-small", messages=messages) as answer:
        assert answer.status == 200
    assert served.upstream.seen[0].body["messages"] == messages


@pytest.mark.attacks(18)
@pytest.mark.parametrize(
    "tool", [{"type": "mcp", "server_url": "http://x"}, {"type": "function", "headers": {}, "function": {}}]
)
async def test_a_tool_that_the_backend_would_call_is_refused(served: Gateway, tool: dict[str, Any]) -> None:
    async with await served.post("team-small", tools=[tool]) as answer:
        assert (await _refusal(answer))[0] == 400


@pytest.mark.attacks(18)
async def test_of_duplicate_keys_only_the_checked_value_goes_on(served: Gateway) -> None:
    both = b'{"model":"%b","messages":[],"stream":false,"model":"%b","mod\\u0065l":"%b"}'
    status, error = await _post_raw(served, both % (b"team-small", b"team-small", b"secret-model"))
    assert (status, error["code"]) == (403, "model_not_allowed")
    async with served.session.post(
        served.url + CHAT, data=both % (b"secret-model", b"secret-model", b"team-small")
    ) as answer:
        assert answer.status == 200
    assert [seen.body for seen in served.upstream.seen] == [{"model": "small", "messages": [], "stream": False}]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b'"x"', b'{"model": null}', b'{"model": ["team-small"]}', b'{"model": ""}'),
        *(b'{"model": "team-small", "stream": 1}', b'{"model": "team-small", "stream_options": []}'),
        *(b'{"model": "team-small", "stream_options": {"x": 1}}', b'{"model": "team-small", "metadata": {"a": {}}}'),
        *(b'{"model": "team-small", "temperature": NaN}', b"\xff\xfe", b"[" * 100_000),
        b'{"model":"team-small","messages":[{"content":[' + b"[" * 900 + b"]" * 900 + b"]}],",
    ],
)
async def test_a_malformed_body_is_refused(served: Gateway, body: bytes) -> None:
    assert (await _post_raw(served, body))[0] == 400
    assert served.upstream.seen == []


async def test_a_deeply_nested_body_breaks_nothing(served: Gateway) -> None:
    nested = b'{"model":"team-small","messages":[{"role":"user","content":[' + b"[" * 900 + b"]" * 900 + b"]}]}"
    async with served.session.post(served.url + CHAT, data=nested) as answer:
        assert (await _refusal(answer))[0] == 400


@pytest.mark.attacks(20)
async def test_a_body_over_20_mb_or_packed_is_refused(served: Gateway) -> None:
    async def endless() -> Any:
        for _ in range(22):
            yield b"x" * 1024 * 1024

    large = orjson.dumps({"model": "team-small", "messages": [{"role": "user", "content": "x" * 21 * 1024 * 1024}]})
    assert (await _post_raw(served, large))[0] == 413
    async with served.session.post(served.url + CHAT, data=endless()) as answer:
        assert (await _refusal(answer))[0] == 413
    assert (await _post_raw(served, b"{}", **{"Content-Encoding": "gzip"}))[0] == 400
    assert served.upstream.seen == []


async def test_a_large_but_allowed_body_passes_whole(served: Gateway) -> None:
    text = "x" * 15 * 1024 * 1024
    async with await served.post("team-small", messages=[{"role": "user", "content": text}]) as answer:
        assert answer.status == 200
    assert served.upstream.seen[0].body["messages"][0]["content"] == text


@pytest.mark.parametrize(("method", "path"), [("GET", CHAT), ("POST", "/v1/nothing"), ("GET", "/"), ("PUT", CHAT)])
async def test_an_unknown_call_is_refused_in_the_callers_shape(served: Gateway, method: str, path: str) -> None:
    async with served.session.request(method, served.url + path) as answer:
        assert (await _refusal(answer))[0] in (404, 405)


@pytest.mark.attacks(16)
async def test_two_authorization_headers_are_refused(served: Gateway) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    token = f"Authorization: Bearer {TOKEN}\r\n".encode()
    writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + token + token + b"\r\n")
    assert (await reader.read()).startswith((b"HTTP/1.1 401", b"HTTP/1.1 400"))
    writer.close()


async def test_outside_the_runtime_pool_only_health_is_answered(upstream: Upstream) -> None:
    async with open_gateway(upstream, pool=ipaddress.IPv4Network("10.201.0.0/19")) as gateway:
        async with gateway.session.get(f"{gateway.url}/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"ok": True})
        for path in ("/v1/models", "/", CHAT):
            async with gateway.session.get(gateway.url + path) as answer:
                assert (await _refusal(answer))[0] == 403


@pytest.mark.attacks(16, 19)
async def test_the_runtimes_own_token_never_goes_on(served: Gateway) -> None:
    async with await served.post("team-small") as answer:
        await answer.read()
    seen = served.upstream.seen[0]
    assert seen.authorization == f"Bearer {KEY}"
    assert TOKEN not in repr(seen)


@pytest.mark.parametrize(
    ("framing", "piece", "refusal"),
    [
        (b"Content-Length: 100", b'{"model":', (b"408", b"did not come to its end in time")),
        (b"Content-Length: 9", b"", (b"408", b"did not come to its end in time")),
        (b"Transfer-Encoding: chunked", b"zz\r\n", (b"400", b"is not framed as HTTP/1.1 wants it")),
    ],
)
async def test_a_body_that_does_not_come_to_its_end_is_waited_for_no_longer(
    served: Gateway, monkeypatch: pytest.MonkeyPatch, framing: bytes, piece: bytes, refusal: tuple[bytes, bytes]
) -> None:
    monkeypatch.setattr(ingress, "BODY_WITHIN_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(served.url.rpartition(":")[2]))
    header = b"POST /v1/chat/completions HTTP/1.1\r\nHost: box\r\nAuthorization: Bearer " + TOKEN.encode()
    writer.write(header + b"\r\n" + framing + b"\r\n\r\n")
    await asyncio.sleep(0.05)  # the call is being read before the piece comes
    writer.write(piece)
    answer = await asyncio.wait_for(reader.read(4096), 5)
    assert answer.startswith(b"HTTP/1.1 " + refusal[0]) and refusal[1] in answer
    assert (served.upstream.seen, served.settled) == ([], [])
    writer.close()


async def test_a_packed_body_is_not_even_unpacked(served: Gateway) -> None:
    packed = zlib.compress(b" " * 10_000_000)
    async with served.session.post(served.url + CHAT, data=packed, headers={"Content-Encoding": "deflate"}) as answer:
        assert (await _refusal(answer))[0] == 400
    broken = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with served.session.post(f"{served.url}/api/show", data=b"not packed at all", headers=broken) as answer:
        assert answer.status == 400
        assert "unpacked" in (await answer.json())["error"]


@pytest.mark.attacks(20)
async def test_one_runtime_cannot_hold_every_connection(served: Gateway) -> None:
    door = ingress.gateway(served.directory, served.proxy, pool=LOOPBACK, most_per_peer=3)
    async with listening(door) as url:
        port = int(url.rpartition(":")[2])
        open_ = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        other, one_more = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
        one_more.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"401" in await asyncio.wait_for(other.readline(), 5)
        one_more.close()
        open_.pop()[1].close()
        await asyncio.sleep(0.1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert b"200" in await asyncio.wait_for(reader.readline(), 5)
        for _, each in (*open_, (reader, writer)):
            each.close()


@pytest.mark.attacks(20)
async def test_a_header_that_never_ends_is_cut(served: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingress, "IDLE_S", 0.3)
    async with listening(ingress.gateway(served.directory, served.proxy, pool=LOOPBACK)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Long: ")

        async def drip() -> None:
            while True:
                writer.write(b"a")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await asyncio.wait_for(reader.read(), 5) == b""
        dripping.cancel()


@pytest.mark.attacks(20)
async def test_what_one_members_calls_hold_in_memory_is_bounded(served: Gateway) -> None:
    served.serve_model("hang")
    room = ingress.Room(limit=1000)
    door = ingress.gateway(served.directory, served.proxy, pool=LOOPBACK, room=room)
    body = orjson.dumps({"model": "hang", "messages": [{"role": "user", "content": "x" * 800}]})
    async with listening(door) as url, aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        asking = [asyncio.create_task(session.post(url + CHAT, data=body)) for _ in range(4)]
        async with asyncio.timeout(5):
            while len(served.upstream.seen) < 4:
                await asyncio.sleep(0.01)
        async with session.post(url + CHAT, data=body) as answer:
            assert (await _refusal(answer))[0] == 429
        async with session.post(url + CHAT, data=body * 2) as answer:
            assert (await _refusal(answer))[0] == 413
        for each in asking:
            each.cancel()
        async with asyncio.timeout(5):
            while room._held:
                await asyncio.sleep(0.01)

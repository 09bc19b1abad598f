"""Each dialect is answered in itself: lists, errors, streams; what a provider would keep or fetch is refused in all."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from clawloops.gateway import upstreams
from clawloops.model.provider import BackendKind
from clawloops.model.usage import Tokens
from tests.gateway.gate import KEY, TOKEN, Gateway
from tests.gateway.shapes import OTHER_STREAMS
from tests.upstream import Script

SAY = [{"role": "user", "content": "Hello"}]
CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": SAY},
    "/v1/responses": {"input": "Hello"},
    "/v1/messages": {"messages": SAY, "max_tokens": 9},
    "/v1/messages/count_tokens": {"messages": SAY},
    "/api/chat": {"messages": SAY, "stream": False},
    "/api/generate": {"prompt": "Hello", "stream": False},
    "/api/embed": {"input": "Hello"},
}
SHAPES = {"responses": "/v1/responses", "messages": "/v1/messages", "lines": "/api/chat"}


@pytest.fixture
async def served(gateway: Gateway) -> Gateway:
    """One model, at a backend that has every endpoint."""
    gateway.serve_model("small", kind=BackendKind.OLLAMA)
    return gateway


async def _ask(gateway: Gateway, path: str, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = {"model": "small", **CALLS[path], **fields}
    async with gateway.session.post(gateway.url + path, json=body) as answer:
        return answer.status, await answer.json()


def _error(path: str, answer: dict[str, Any]) -> str:
    """The message of an error, which must have the shape of the path's dialect."""
    if path.startswith("/api/"):
        assert set(answer) == {"error"}
        return str(answer["error"])
    if path.startswith("/v1/messages"):
        assert answer["type"] == "error"
        assert set(answer["error"]) == {"type", "message"}
    else:
        assert set(answer["error"]) == {"message", "type", "param", "code"}
    return str(answer["error"]["message"])


@pytest.mark.parametrize("path", CALLS)
async def test_a_whole_answer_passes_and_is_counted(served: Gateway, path: str) -> None:
    status, answer = await _ask(served, path)
    assert status == 200, answer
    assert [each.path for each in served.upstream.seen] == [path]
    expected = {
        "/v1/messages/count_tokens": Tokens(),
        "/api/embed": Tokens(11),
        "/v1/messages": Tokens(11, 5, 4),
    }.get(path, Tokens(11, 5) if path.startswith("/api/") else Tokens(11, 5, 4, 1))
    assert [call.tokens for call in served.settled] == [expected]


@pytest.mark.parametrize("name", OTHER_STREAMS)
async def test_a_stream_is_the_same_byte_for_byte_as_without_the_gateway(served: Gateway, name: str) -> None:
    usage, pieces, tokens = OTHER_STREAMS[name]
    path = SHAPES[usage]
    served.upstream.scripts["small"] = Script(pieces=pieces)
    body = {"model": "small", **CALLS[path], "stream": True}
    async with aiohttp.ClientSession() as direct, direct.post(served.upstream.url + path, json=body) as answer:
        expected = await answer.read()
    async with served.session.post(served.url + path, json=body) as answer:
        assert await answer.read() == expected
        assert answer.content_type == ("application/x-ndjson" if path == "/api/chat" else "text/event-stream")
    assert [call.tokens for call in served.settled] == [served.estimated(tokens)]


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/api/chat", "/api/generate"])
async def test_a_stream_that_breaks_looks_broken_and_what_came_is_counted(served: Gateway, path: str) -> None:
    served.serve_model("cut-4", kind=BackendKind.OLLAMA)
    body = {**CALLS[path], "model": "cut-4", "stream": True}
    async with served.session.post(served.url + path, json=body) as answer:
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
    counted = {"/v1/responses": Tokens(0, 1), "/v1/messages": Tokens(11, 2, 4)}.get(path, Tokens(0, 4))
    assert [(call.status, call.tokens) for call in served.settled] == [(502, served.estimated(counted))]


async def test_ollama_streams_where_nobody_said_otherwise(served: Gateway) -> None:
    async with served.session.post(f"{served.url}/api/chat", json={"model": "small", "messages": SAY}) as answer:
        lines = (await answer.text()).splitlines()
    assert len(lines) == 6
    assert "stream" not in served.upstream.seen[0].body


# --- errors


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"model": "other"}, 403, "GET /v1/models"),
        ({"model": None}, 400, "'model'"),
        ({"api_base": "http://x"}, 400, "set by the admin"),
        ({"surprise": 1}, 400, "Unknown field 'surprise'"),
        ({"model": "error-429"}, 429, "asks to slow down"),
        ({"model": "error-500"}, 502, "failed (HTTP 500)"),
        ({"model": "down"}, 502, "does not answer"),
    ],
)
async def test_every_refusal_has_the_shape_of_its_dialect(
    served: Gateway, path: str, fields: dict[str, Any], status: int, says: str
) -> None:
    for name in ("error-429", "error-500"):
        served.serve_model(name, kind=BackendKind.OLLAMA)
    served.serve_model("down", kind=BackendKind.OLLAMA, url="http://127.0.0.1:1")
    got, answer = await _ask(served, path, **fields)
    assert got == status
    assert says in _error(path, answer)
    assert KEY not in str(answer)


@pytest.mark.parametrize("path", [*CALLS, "/v1/messages/nothing", "/api/pull"])
async def test_without_a_token_or_without_such_a_call_it_is_said_in_the_dialect_too(served: Gateway, path: str) -> None:
    async with aiohttp.ClientSession() as nobody, nobody.post(served.url + path, json={}) as answer:
        assert answer.status == (401 if path in CALLS else 404)
        assert _error(path, await answer.json())


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": TOKEN, "Authorization": f"Bearer {TOKEN}"},
        {"x-api-key": "wrong"},
        {"x-api-key": ""},
    ],
)
async def test_one_credential_is_enough_and_two_are_too_many(served: Gateway, headers: dict[str, str]) -> None:
    async with aiohttp.ClientSession() as tool:
        body = {"model": "small", **CALLS["/v1/messages"]}
        async with tool.post(f"{served.url}/v1/messages", json=body, headers={"x-api-key": TOKEN}) as answer:
            assert answer.status == 200
        async with tool.post(f"{served.url}/v1/messages", json=body, headers=headers) as answer:
            assert answer.status == 401


# --- what a provider would keep or fetch


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/responses", {"previous_response_id": "resp_of_somebody"}),
        ("/v1/responses", {"conversation": "conv_1"}),
        ("/v1/responses", {"background": True}),
        ("/v1/responses", {"prompt": {"id": "pmpt_1"}}),
        ("/v1/responses", {"store": True}),
        ("/v1/responses", {"input": [{"type": "item_reference", "id": "msg_of_somebody"}]}),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://x/"}]}]},
        ),
        ("/v1/responses", {"input": [{"type": "function_call_output", "output": [{"file_url": "http://x/"}]}]}),
        ("/v1/responses", {"input": [{"type": "computer_call_output", "output": {"image_url": "http://x/"}}]}),
        ("/v1/responses", {"tools": [{"type": "mcp", "server_label": "x"}]}),
        ("/v1/responses", {"tools": [{"type": "file_search"}]}),
        ("/v1/responses", {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}),
        ("/v1/messages", {"mcp_servers": [{"type": "url", "url": "http://x/"}]}),
        ("/v1/messages", {"container": "container_1"}),
        ("/v1/messages", {"tools": [{"type": "mcp_toolset", "mcp_server_name": "x"}]}),
        ("/v1/messages", {"system": [{"type": "document", "source": {"type": "url", "url": "http://x/"}}]}),
        *(
            ("/v1/messages", {"messages": [{"role": "user", "content": [part]}]})
            for part in (
                {"type": "image", "source": {"type": "url", "url": "http://x/"}},
                {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
                {"type": "image"},
                {"type": "document", "source": {"type": "url", "url": "http://x/"}},
                {"type": "container_upload", "file_id": "file_1"},
                {
                    "type": "tool_result",
                    "tool_use_id": "t",
                    "content": [{"type": "image", "source": {"type": "url", "url": "http://x/"}}],
                },
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "image", "source": {"type": "url"}}]},
                },
            )
        ),
    ],
)
async def test_nothing_is_fetched_continued_or_kept_for_a_caller(
    served: Gateway, path: str, fields: dict[str, Any]
) -> None:
    status, answer = await _ask(served, path, **fields)
    assert status == 400
    assert _error(path, answer)
    assert served.upstream.seen == []


async def test_addresses_that_are_only_talked_about_pass(served: Gateway) -> None:
    link = "https://example.org/"
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    talk = [
        {"role": "user", "content": [{"type": "text", "text": link}, image]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "get", "input": {"url": link}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": link}]},
    ]
    assert (await _ask(served, "/v1/messages", messages=talk))[0] == 200
    items = [
        {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
        {"type": "function_call", "call_id": "c", "name": "get", "arguments": '{"url": "http://x/"}'},
        {"type": "function_call_output", "call_id": "c", "output": link},
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": link, "annotations": [{"type": "url_citation", "url": link}]}],
        },
    ]
    assert (await _ask(served, "/v1/responses", input=items, previous_response_id=None))[0] == 200
    assert [each.body.get("store") for each in served.upstream.seen] == [None, False]
    assert served.upstream.seen[0].body["messages"] == talk
    assert served.upstream.seen[1].body["input"] == items


async def test_how_ollama_loads_a_model_is_not_the_callers(served: Gateway) -> None:
    options = {"temperature": 0.5, "num_predict": 3, "num_ctx": 1_000_000, "num_gpu": 0, "use_mlock": True}
    assert (await _ask(served, "/api/chat", options=options, keep_alive=-1))[0] == 200
    assert (await _ask(served, "/api/generate", options=None, keep_alive="24h"))[0] == 200
    assert (await _ask(served, "/api/generate", options=[]))[0] == 400
    chat, generate = (each.body for each in served.upstream.seen)
    assert chat["options"] == {"temperature": 0.5, "num_predict": 3}
    assert "keep_alive" not in chat | generate


# --- ways to a backend


async def test_anthropic_is_called_in_its_own_dialect_with_its_own_kind_of_key(gateway: Gateway) -> None:
    gateway.serve_model("claude", kind=BackendKind.LITELLM, provider=upstreams.ANTHROPIC, url=gateway.upstream.url)
    body = {"model": "claude", **CALLS["/v1/messages"]}
    for sent in ({"anthropic-version": "2025-01-01", "anthropic-beta": "some-beta"}, {}):
        async with gateway.session.post(f"{gateway.url}/v1/messages?beta=true", json=body, headers=sent) as answer:
            assert answer.status == 200
    for seen in gateway.upstream.seen:
        assert (seen.path, seen.authorization, seen.headers["x-api-key"]) == ("/v1/messages", "", KEY)
        assert "api_key" not in seen.body
    named, usual = (each.headers for each in gateway.upstream.seen)
    assert (named["anthropic-beta"], named["anthropic-version"]) == ("some-beta", "2025-01-01")
    assert ("anthropic-beta" in usual, usual["anthropic-version"]) == (False, "2023-06-01")


async def test_a_backend_without_the_callers_dialect_is_named(gateway: Gateway) -> None:
    gateway.serve_model("small")
    status, answer = await _ask(gateway, "/api/chat")
    assert status == 400
    assert "'Lab server' is no Ollama" in _error("/api/chat", answer)
    assert gateway.upstream.seen == []


# --- lists


async def test_the_models_are_listed_as_each_dialect_does(gateway: Gateway) -> None:
    for name in ("org/small:8b", "large"):
        gateway.serve_model(name)
    anthropic = {"anthropic-version": "2023-06-01"}

    async def get(path: str, headers: dict[str, str] | None = None) -> Any:
        async with gateway.session.get(gateway.url + path, headers=headers or {}) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    listed = await get("/v1/models", anthropic)
    assert [each["id"] for each in listed["data"]] == ["org/small:8b", "large"]
    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == ("org/small:8b", "large", False)
    assert listed["data"][0]["created_at"] == "2023-11-14T22:13:20Z"
    assert (await get("/v1/models/org/small:8b"))["object"] == "model"
    assert (await get("/v1/models/large", anthropic))["type"] == "model"
    assert [each["model"] for each in (await get("/api/tags"))["models"]] == ["org/small:8b", "large"]
    assert (await get("/api/version"))["version"]
    async with gateway.session.post(f"{gateway.url}/api/show", json={"model": "large"}) as answer:
        info = (await answer.json())["model_info"]
    assert info[f"{info['general.architecture']}.context_length"] == 128_000
    for path in ("/v1/models/other", "/v1/models/small"):
        async with gateway.session.get(gateway.url + path) as answer:
            assert answer.status == 404
    async with gateway.session.post(f"{gateway.url}/api/show", json={"model": "other"}) as answer:
        assert answer.status == 404
    async with gateway.session.post(f"{gateway.url}/api/show", data=b"[") as answer:
        assert answer.status == 400

"""Images are counted, and their Base64 is not taken for text."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from clawloops.gateway.body import rebuild
from clawloops.gateway.endpoints import ENDPOINTS
from tests.gateway.gate import Gateway

DATA = "iVBORw0KGgo" * 2000
URL = f"data:image/png;base64,{DATA}"


@pytest.mark.parametrize(
    ("path", "fields", "images"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [
            {"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": URL}},
            {"type": "image_url", "image_url": {"url": URL}}]}]}, 2),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "no image_url here"}]}, 0),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": URL}]}]}, 1),
        ("/v1/responses", {"input": "only text"}, 0),
        ("/v1/messages", {"max_tokens": 5, "messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
            {"type": "tool_result", "tool_use_id": "t", "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}]}]}]}, 2),
        ("/api/chat", {"messages": [{"role": "user", "content": "What is it?", "images": [DATA, DATA, DATA]}]}, 3),
        ("/api/generate", {"prompt": "What is it?", "images": [DATA]}, 1),
        ("/v1/chat/completions", {"messages": "odd"}, 0),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "image_url"}, 5, None]}]}, 1),
    ],
)  # fmt: skip
def test_each_dialect_has_them_in_its_own_places(path: str, fields: dict[str, Any], images: int) -> None:
    body = rebuild(ENDPOINTS[path], orjson.dumps({"model": "small", **fields}))
    assert body.images == images
    assert body.size < 1000


async def test_a_call_has_its_images_in_the_books(gateway: Gateway) -> None:
    gateway.serve_model("small")
    content = [{"type": "image_url", "image_url": {"url": URL}}]
    body = {"model": "small", "messages": [{"role": "user", "content": content}]}
    async with gateway.session.post(f"{gateway.url}/v1/chat/completions", json=body) as answer:
        assert answer.status == 200
    (call,) = gateway.settled
    assert call.images == 1
    assert gateway.written[0].input < 2000  # type: ignore[union-attr]

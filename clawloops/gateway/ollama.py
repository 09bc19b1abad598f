"""Ollama's own calls for an admin: what is pulled and loaded, pull, import, load, unload, remove, and the context.

Source: Ollama's docs/api.md. None of this is reached by a member or a runtime.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from yarl import URL

from clawloops.errors import BackendRefused, BackendUnavailable, BadInput
from clawloops.gateway import answers
from clawloops.gateway.resolve import is_out_of_bounds
from clawloops.model.fit import Shape

_SOON_S = 30
_LINE = 1024 * 1024  # bytes; Ollama's own lines are a few hundred
_MOST = 32 * 1024 * 1024  # bytes of an answer: a model's vocabulary may be part of it
_LEFT = "context canceled"
"""Of a pull that Ollama was giving up just then, because whoever had asked before had left: asked again, it goes on."""
_STALL_S = 300  # a pull that tells nothing for so long is broken
_NAME = re.compile(
    r"(?:(?P<host>[a-z0-9.-]+\.[a-z]+(?::\d{1,5})?|[a-z0-9.-]+:\d{1,5})/)?(?:(?P<space>[A-Za-z0-9][\w.-]{0,79})/)?"
    r"(?P<model>[A-Za-z0-9][\w.-]{0,79})(?::(?P<tag>[\w.-]{1,80}))?",
    re.ASCII,
)
_REGISTRY = "registry.ollama.ai"
_HOPS = 4  # from registry to registry, for a manifest


@dataclass(frozen=True, slots=True)
class Pulled:
    name: str
    bytes: int
    parameters: str  # as Ollama says it: "8.2B"
    quantization: str


@dataclass(frozen=True, slots=True)
class Loaded:
    name: str
    bytes: int
    gpu_bytes: int
    context: int  # tokens


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a pull."""

    what: str
    completed: int = 0  # bytes of one layer
    total: int = 0
    layer: str = ""  # digest of the layer


@dataclass(frozen=True, slots=True)
class Reference:
    """A model's name, with the registry that it is pulled from."""

    name: str  # as Ollama takes it
    manifest: str  # address of its manifest
    is_insecure: bool  # an admin's own registry, by plain HTTP


def reference(text: str) -> Reference:
    """Raises BadInput for what is no name of a model. One that begins with http:// is pulled without TLS."""
    name = text.strip()
    is_insecure = name.startswith("http://")
    found = _NAME.fullmatch(name.removeprefix("http://").removeprefix("https://"))
    if found is None or len(name) > 200:
        raise BadInput("Give a name as Ollama's library has it, for example qwen3:8b.", field="model")
    host, space = found["host"] or _REGISTRY, found["space"] or "library"
    scheme = "http" if is_insecure else "https"
    address = f"{scheme}://{host}/v2/{space}/{found['model']}/manifests/{found['tag'] or 'latest'}"
    return Reference(found[0], address, is_insecure)


class Ollama:
    def __init__(self, session: aiohttp.ClientSession, url: str, key: str | None = None) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._header = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._hidden = (key,) if key else ()

    async def pulled(self) -> list[Pulled]:
        found = _dicts((await self._json("GET", "/api/tags")).get("models"))
        return [
            Pulled(
                name=str(each.get("name", "")),
                bytes=_int(each.get("size")),
                parameters=str(_dict(each.get("details")).get("parameter_size", "")),
                quantization=str(_dict(each.get("details")).get("quantization_level", "")),
            )
            for each in found
        ]

    async def loaded(self) -> list[Loaded]:
        found = _dicts((await self._json("GET", "/api/ps")).get("models"))
        return [
            Loaded(
                name=str(each.get("name", "")),
                bytes=_int(each.get("size")),
                gpu_bytes=_int(each.get("size_vram")),
                context=_int(each.get("context_length")),
            )
            for each in found
        ]

    async def shape(self, name: str) -> Shape:
        """What a model needs for its context. Raises BackendRefused when it is not there."""
        told = await self._json("POST", "/api/show", {"model": name})
        info, kind = _dict(told.get("model_info")), ""
        kind = str(info.get("general.architecture", ""))

        def of(what: str) -> int:
            return _int(info.get(f"{kind}.{what}"))

        layers, heads = of("block_count"), of("attention.head_count")
        own = info.get(f"{kind}.attention.head_count_kv", heads)
        by_layer = [_int(each) for each in own] if isinstance(own, list) else [_int(own)] * layers
        length = of("embedding_length") // heads if heads else 0
        widths = (of("attention.key_length") or length) + (of("attention.value_length") or length)
        set_ = re.search(r"^num_ctx\s+(\d+)", str(told.get("parameters", "")), re.MULTILINE)
        return Shape(
            cache_bytes=2 * widths * sum(by_layer),  # of one token, at 16 bits
            most_context=of("context_length"),
            context=int(set_[1]) if set_ else 0,
        )

    async def pull(self, wanted: Reference) -> AsyncIterator[Step]:
        """Raises BackendRefused when there is no such model, BackendUnavailable when Ollama goes away meanwhile."""
        body = {"model": wanted.name, "insecure": wanted.is_insecure, "stream": True}
        limit = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=_STALL_S)
        async with self._ask("POST", "/api/pull", body, limit) as answer:
            async for line in _lines(answer):
                if "error" in line:
                    told = self._said(str(line["error"]))
                    if _LEFT in told:
                        raise BackendUnavailable(f"Ollama broke off: {told}")
                    raise BackendRefused(told, status=answer.status)
                yield Step(
                    what=str(line.get("status", ""))[:200],
                    completed=_int(line.get("completed")),
                    total=_int(line.get("total")),
                    layer=str(line.get("digest", ""))[:80],
                )

    async def load(self, name: str) -> None:
        """Raises BackendRefused when it cannot be loaded. Takes as long as that takes."""
        limit = aiohttp.ClientTimeout(total=900, sock_connect=10)
        await self._json("POST", "/api/generate", {"model": name, "keep_alive": -1, "stream": False}, limit)

    async def unload(self, name: str) -> None:
        await self._json("POST", "/api/generate", {"model": name, "keep_alive": 0, "stream": False})

    async def remove(self, name: str) -> None:
        await self._json("DELETE", "/api/delete", {"model": name})

    async def set_context(self, name: str, tokens: int) -> None:
        """How many tokens of question and answer it takes from its next load on."""
        await self._json(
            "POST", "/api/create", {"model": name, "from": name, "parameters": {"num_ctx": tokens}, "stream": False}
        )

    async def import_file(self, name: str, path: Path, sha256: str) -> None:
        """Make a model of a GGUF file. Raises BackendRefused when Ollama cannot read it."""
        limit = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600)
        with path.open("rb") as file:
            async with self._ask("POST", f"/api/blobs/sha256:{sha256}", file, limit):
                pass
        body = {"model": name, "files": {"model.gguf": f"sha256:{sha256}"}, "stream": False}
        await self._json("POST", "/api/create", body, limit)

    async def _json(
        self, method: str, path: str, body: object = None, limit: aiohttp.ClientTimeout | None = None
    ) -> dict[str, Any]:
        async with self._ask(method, path, body, limit or aiohttp.ClientTimeout(total=_SOON_S)) as answer:
            raw = await _head(answer)
        try:
            told = orjson.loads(raw or b"{}")
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict):
            raise BackendRefused("What answers there is no Ollama.", status=answer.status)
        if told.get("error"):
            raise BackendRefused(self._said(str(told["error"])), status=answer.status)
        return told

    @asynccontextmanager
    async def _ask(
        self, method: str, path: str, body: object, limit: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        data = orjson.dumps(body) if isinstance(body, dict) else body
        try:
            async with self._session.request(
                method, self._url + path, data=data, headers=self._header, timeout=limit, allow_redirects=False
            ) as answer:
                if answer.status >= 400:
                    text = answers.said(await _head(answer), self._hidden)
                    raise BackendRefused(text or f"Ollama says HTTP {answer.status}.", status=answer.status)
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = answers.scrub(str(error) or type(error).__name__, self._hidden)
            raise BackendUnavailable(f"Ollama does not answer: {why}") from error

    def _said(self, text: str) -> str:
        return answers.scrub(text, self._hidden)[:600]


async def size_of(session: aiohttp.ClientSession, wanted: Reference) -> int:
    """Bytes that a pull would bring, by its registry's manifest. Raises BackendUnavailable and BackendRefused."""
    kinds = "application/vnd.docker.distribution.manifest.v2+json"
    address = URL(wanted.manifest)
    try:
        for _ in range(_HOPS):
            _vet(address)
            async with session.get(
                address,
                headers={"Accept": kinds, "Accept-Encoding": "identity"},
                timeout=aiohttp.ClientTimeout(total=_SOON_S),
                allow_redirects=False,
            ) as answer:
                raw, onward = await _head(answer), answer.headers.get("Location", "")
            if answer.status not in (301, 302, 303, 307, 308) or not onward:
                break
            address = address.join(URL(onward))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BackendUnavailable(
            f"The registry {address.host} does not answer ({why}). See whether this box reaches the internet; "
            "a GGUF file can be imported without it."
        ) from error
    if answer.status == 404:
        raise BackendRefused(f"There is no model {wanted.name!r} in its registry.", status=404)
    try:
        layers = _dicts(_dict(orjson.loads(raw)).get("layers"))
    except orjson.JSONDecodeError:
        layers = []
    if answer.status != 200 or not layers:
        raise BackendUnavailable(f"The registry does not tell its size (HTTP {answer.status}).")
    return sum(_int(each.get("size")) for each in layers)


def _vet(address: URL) -> None:
    """Raises BackendUnavailable for an address that no registry has. A name is vetted by the session's own resolver."""
    with suppress(ValueError):
        if is_out_of_bounds(address.host or ""):
            raise BackendUnavailable("No registry is at this address.")


async def _head(answer: aiohttp.ClientResponse) -> bytes:
    raw = bytearray()
    async for piece in answer.content.iter_any():
        raw += piece
        if len(raw) > _MOST:
            raise BackendRefused("Ollama's answer is too long.", status=answer.status)
    return bytes(raw)


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[Mapping[str, Any]]:
    held = b""
    async for piece in answer.content.iter_any():
        *whole, held = (held + piece).split(b"\n")
        if len(held) > _LINE:
            raise BackendRefused("What answers there is no Ollama.", status=answer.status)
        for line in whole:
            if line.strip():
                yield _dict(_parsed(line))
    if held.strip():
        yield _dict(_parsed(held))


def _parsed(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _int(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**60 else 0

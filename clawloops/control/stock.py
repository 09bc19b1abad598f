"""What is on an Ollama's disk and in its memory, as an admin sees it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from clawloops.control.backends import Backends
from clawloops.control.connecting import WINDOW, BundledParts
from clawloops.control.models import Models
from clawloops.errors import BackendRefused, BackendUnavailable
from clawloops.gateway.ollama import Loaded, Ollama, Pulled
from clawloops.model.fit import Fit, Shape, fit
from clawloops.model.provider import Backend, BackendKind

CONTEXT = WINDOW[BackendKind.OLLAMA]
_PATIENCE_S = 10
_UNKNOWN = Shape(cache_bytes=0, most_context=0, context=0)


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that is there."""

    pulled: Pulled
    shape: Shape
    fit: Fit
    loaded: Loaded | None
    names: tuple[str, ...]  # public ones that lead to it
    users: tuple[str, ...]  # ids of the members whose calls it answers now


class Stock:
    def __init__(
        self, session: aiohttp.ClientSession, backends: Backends, models: Models, *, bundled: BundledParts
    ) -> None:
        self._session = session
        self._backends = backends
        self._models = models
        self._bundled = bundled
        self._shapes: dict[tuple[str, str, int], Shape] = {}  # backend, model, its size

    async def look(self, backend: Backend) -> tuple[tuple[Entry, ...], str]:
        """Every model that is there, by name, and why they could not be asked for, or ""."""
        capacity, _ = self.capacity(backend)
        try:
            async with asyncio.timeout(_PATIENCE_S):
                api = self.api(backend)
                pulled, loaded = await api.pulled(), {each.name: each for each in await api.loaded()}
                entries = [
                    self._entry(backend, each, await self._shape(backend, api, each), loaded, capacity)
                    for each in sorted(pulled, key=lambda one: one.name)
                ]
        except (BackendUnavailable, BackendRefused) as error:
            return (), str(error)
        except TimeoutError:
            return (), "Ollama does not answer in time."
        return tuple(entries), ""

    def forget(self) -> None:
        """A model was changed: ask for its shape again, also where an answer of before is still on its way."""
        self._shapes = {}

    def api(self, backend: Backend) -> Ollama:
        return Ollama(self._session, backend.url, self._models.key_of(backend.id))

    def names(self, backend: Backend, name: str) -> tuple[str, ...]:
        """The public names that lead to a model."""
        return tuple(
            model.name
            for model in self._models.names()
            if any(each.backend_id == backend.id and is_same(each.upstream, name) for each in model.places)
        )

    def capacity(self, backend: Backend) -> tuple[int, bool]:
        """Bytes, and whether they are this box's memory."""
        if backend.memory_mb:
            return backend.memory_mb * 1024**2, False
        if backend.url.rstrip("/") != self._bundled.ollama_url.rstrip("/"):
            return 0, False
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), True

    async def _shape(self, backend: Backend, api: Ollama, pulled: Pulled) -> Shape:
        """Asked once: a model does not change but by us or another pull. One that Ollama cannot show is listed, too."""
        key, known = (backend.id, pulled.name, pulled.bytes), self._shapes
        if (shape := known.get(key)) is None:
            try:
                shape = await api.shape(pulled.name)
            except BackendRefused:
                return _UNKNOWN
            if len(known) > 1000:
                known.clear()
            known[key] = shape
        return shape

    def _entry(
        self, backend: Backend, pulled: Pulled, shape: Shape, loaded: Mapping[str, Loaded], capacity: int
    ) -> Entry:
        names = self.names(backend, pulled.name)
        asked = [each for each in self._backends.standings_of(backend.id) if not each.place and each.model in names]
        cache = shape.cache_bytes * (shape.context or CONTEXT)
        return Entry(
            pulled=pulled,
            shape=shape,
            fit=fit(pulled.name, pulled.bytes, cache, capacity, {each.name: each.bytes for each in loaded.values()}),
            loaded=loaded.get(pulled.name),
            names=names,
            users=tuple(dict.fromkeys(each.user_id for each in asked)),
        )


def is_same(upstream: str, name: str) -> bool:
    """Whether a place means this model: without a tag it is the latest one."""
    return (upstream if ":" in upstream.rpartition("/")[2] else f"{upstream}:latest") == name

"""The models on an Ollama's own disk: pulled as jobs of this server, imported, loaded, and whether they fit."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from clawloops.control.audit import Audit
from clawloops.control.backends import Backends
from clawloops.control.connecting import MAX_TOKENS, BundledParts
from clawloops.control.models import Models
from clawloops.control.pulls import Progress, Pulls, newest, quietly
from clawloops.control.stock import CONTEXT, Entry, Stock, is_same
from clawloops.control.uploads import received
from clawloops.errors import (
    BackendRefused,
    BackendUnavailable,
    BadInput,
    Conflict,
    Forbidden,
    NotFound,
    Unavailable,
)
from clawloops.gateway.ollama import Reference, reference, size_of
from clawloops.model.account import User
from clawloops.model.fit import fit
from clawloops.model.library import Pull
from clawloops.model.provider import Backend, BackendKind, Grants, Place
from clawloops.store import users
from clawloops.store.db import Database

CONTEXTS = range(2048, 1_048_577)
MOST_FILE = 512 * 1024**3  # bytes of a GGUF file
_FILE = "import.gguf"
PATIENCE_S = 3.0  # a load that takes longer goes on by itself
_GGUF = struct.Struct("<4sIQQ")  # magic, version, tensors, key-value pairs (ggml's docs/gguf.md)
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shelf:
    backend: Backend
    entries: tuple[Entry, ...]
    progress: tuple[Progress, ...]  # newest first
    capacity: int  # bytes; 0: not known
    is_own_memory: bool  # the capacity is this box's memory, not a GPU's
    trouble: str  # why it could not be asked, or ""
    notes: Mapping[str, str]  # what came of the latest load of a model, by its name


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of a model that is not there yet."""

    model: str
    bytes: int  # to pull
    fits: bool | None  # None: the backend's capacity is not known
    text: str  # for an admin


class Library:
    def __init__(
        self,
        db: Database,
        session: aiohttp.ClientSession,
        backends: Backends,
        models: Models,
        audit: Audit,
        *,
        bundled: BundledParts,
        data: Path,
        keep: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        """`data`: where an imported file is kept while it arrives. `keep` runs something beside the calls."""
        self._db = db
        self._session = session
        self._backends = backends
        self._models = models
        self._audit = audit
        self._data = data
        self._keep = keep
        self._stock = Stock(session, backends, models, bundled=bundled)
        self._pulls = Pulls(db, backends, self._stock.api, arrived=self._arrived, keep=keep)
        self._notes: dict[str, dict[str, str]] = {}  # backend id -> model -> note
        self._importing = asyncio.Lock()

    async def resume(self) -> None:
        """Go on with the pulls that a restart interrupted: Ollama has kept what had come."""
        await asyncio.to_thread((self._data / _FILE).unlink, missing_ok=True)  # of an import that was interrupted
        await self._pulls.resume()

    async def shelf(self, backend_id: str, *, by: User) -> Shelf:
        """Raises NotFound where there is no such Ollama."""
        backend = await self._ollama(backend_id, by)
        entries, trouble = await self._stock.look(backend)
        capacity, is_own_memory = self._stock.capacity(backend)
        return Shelf(
            backend=backend,
            entries=entries,
            progress=newest(await self._pulls.of(backend_id)),
            capacity=capacity,
            is_own_memory=is_own_memory,
            trouble=trouble,
            notes=self._notes.get(backend_id, {}),
        )

    async def pulls_of(self, backend_id: str, *, by: User) -> tuple[Progress, ...]:
        """Newest first; Ollama is not asked. Raises NotFound where there is no such Ollama."""
        await self._ollama(backend_id, by)
        return await self._pulls.of(backend_id)

    async def would_fit(self, backend_id: str, model: str, *, by: User) -> Estimate:
        """Asks the model's registry for its size. Raises BadInput, NotFound."""
        backend = await self._ollama(backend_id, by)
        wanted = reference(model)
        try:
            weights = await size_of(self._session, wanted)
            loaded = {each.name: each.bytes for each in await self._stock.api(backend).loaded()}
        except (BackendUnavailable, BackendRefused) as error:
            raise BadInput(str(error), field="model") from error
        # ESTIMATE: a cache of an eighth of the weights, as models of 4 bits have with 32,768 tokens.
        found = fit(wanted.name, weights, weights // 8, self._stock.capacity(backend)[0], loaded)
        whether = found.text or "Say how much memory the GPU has, on the Models page, to learn whether it fits."
        text = f"{wanted.name} is {weights / 1024**3:.1f} GiB to pull. {whether}"
        return Estimate(wanted.name, weights, found.fits if found.is_known else None, text)

    async def pull(self, backend_id: str, model: str, *, is_offered: bool, by: User) -> Pull:
        """Begin to pull a model. Raises BadInput, NotFound, Conflict when it is being pulled already."""
        backend = await self._ollama(backend_id, by)
        pull = await self._pulls.begin(backend, reference(model), is_offered=is_offered, by=by)
        await self._audit.record(by.id, "model pulled", backend.name, pull.model)
        return pull

    async def cancel(self, pull_id: str, *, by: User) -> None:
        """What has come stays with Ollama, and another pull goes on from there."""
        _admin(by)
        await self._pulls.cancel(pull_id)
        await self._audit.record(by.id, "pull cancelled", pull_id)

    async def load(self, backend_id: str, name: str, *, by: User) -> None:
        """Into memory, until it is unloaded or another one needs the room. Raises NotFound, BadInput."""
        backend = await self._ollama(backend_id, by)
        loading = asyncio.ensure_future(self._load(backend, name))
        await asyncio.wait({loading}, timeout=PATIENCE_S)
        if not loading.done():
            self._keep(quietly(loading))
        await self._audit.record(by.id, "model loaded", backend.name, name)

    async def unload(self, backend_id: str, name: str, *, by: User) -> None:
        """Out of memory, once its calls are through. Raises NotFound, BadInput."""
        backend = await self._ollama(backend_id, by)
        await self._told(self._stock.api(backend).unload(name), "model")
        self._note(backend.id, name, "")
        await self._audit.record(by.id, "model unloaded", backend.name, name)

    async def remove(self, backend_id: str, name: str, *, by: User) -> None:
        """From its disk. Raises NotFound, BadInput, Conflict while a name leads to it."""
        backend = await self._ollama(backend_id, by)
        names = self._stock.names(backend, name)
        if names:
            raise Conflict(f"The name {', '.join(names)} leads to it. Change or remove that first, under Models.")
        await self._told(self._stock.api(backend).remove(name), "model")
        await self._audit.record(by.id, "model removed", backend.name, name)

    async def set_context(self, backend_id: str, name: str, tokens: int, *, by: User) -> None:
        """How many tokens it takes from its next load on; names that lead to it follow. Raises NotFound, BadInput."""
        backend = await self._ollama(backend_id, by)
        if tokens not in CONTEXTS:
            raise BadInput("A context has 2,048 to 1,048,576 tokens; OpenClaw needs 32,768 or more.", field="context")
        await self._told(self._set_context(backend, name, tokens), "context")
        for model in self._models.names():
            if any(each.backend_id == backend.id and is_same(each.upstream, name) for each in model.places):
                granted = (await self._models.grants()).get(model.id, Grants())
                changed = replace(model, context_window=tokens, max_tokens=min(model.max_tokens, tokens // 2))
                await self._models.change(changed, granted, by=by)
        await self._audit.record(by.id, "context of a model", backend.name, f"{name}: {tokens}")

    async def _set_context(self, backend: Backend, name: str, tokens: int) -> None:
        api = self._stock.api(backend)
        most = (await api.shape(name)).most_context
        if most and tokens > most:  # Ollama would take it, and then less
            raise BadInput(f"{name} was made for {most:,} tokens at most.", field="context")
        await api.set_context(name, tokens)
        self._stock.forget()

    async def import_file(self, backend_id: str, name: str, chunks: AsyncIterator[bytes], *, by: User) -> None:
        """Make a model of a GGUF file that arrives in pieces. Raises NotFound, and BadInput with the field."""
        backend = await self._ollama(backend_id, by)
        wanted = reference(name).name
        if self._importing.locked():
            raise Conflict("Another file is on its way already. Wait until it is here.")
        async with self._importing:
            path, file = self._data / _FILE, _Gguf()
            try:
                await received(path, chunks, most=MOST_FILE, look=file.look)
                made = self._stock.api(backend).import_file(wanted, path, file.digest.hexdigest())
                await self._told(made, "file")
            except OSError as error:
                raise Unavailable(f"The file could not be stored ({error.strerror}). Free some space first.") from error
            finally:
                path.unlink(missing_ok=True)
        await self._audit.record(by.id, "model imported", backend.name, wanted)

    async def offer(self, backend_id: str, name: str, *, by: User) -> str:
        """Give it a public name, its own; returns that. Raises NotFound, BadInput."""
        backend = await self._ollama(backend_id, by)
        return await self._offer(backend, name, by)

    async def _offer(self, backend: Backend, name: str, by: User) -> str:
        """Sets its context with that: an Ollama elsewhere may be content with 4,096 tokens, and cut what is longer."""
        public, api = name.removesuffix(":latest"), self._stock.api(backend)
        try:
            shape = await api.shape(name)
            window = min(shape.context or CONTEXT, shape.most_context or CONTEXTS.stop)
            if shape.context != window:
                await api.set_context(name, window)
                self._stock.forget()
        except (BackendUnavailable, BackendRefused) as error:
            raise BadInput(str(error), field="model") from error
        await self._models.publish(
            public, [Place(backend.id, name)], context_window=window, max_tokens=min(MAX_TOKENS, window // 2), by=by
        )
        return public

    async def _arrived(self, backend: Backend, wanted: Reference, pull: Pull) -> str:
        """It is there now: give it its name. Returns what an admin is to know."""
        self._stock.forget()
        name = wanted.name if ":" in wanted.name.rpartition("/")[2] else f"{wanted.name}:latest"
        try:
            if names := self._stock.names(backend, name):  # it was there before, with a context that the pull took away
                model = next(each for each in self._models.names() if each.name == names[0])
                await self._set_context(backend, name, model.context_window)
                return f"Members see it as {', '.join(names)}, as before."
            actor = await users.get(self._db, pull.actor)
            if not pull.is_offered or actor is None or not actor.role.administers:
                return ""
            return f"Members see it as {await self._offer(backend, name, actor)}."
        except (BadInput, BackendRefused, BackendUnavailable) as error:
            return f"It is there, but: {error}"

    async def _load(self, backend: Backend, name: str) -> None:
        self._note(backend.id, name, "It is being loaded.")
        try:
            await self._stock.api(backend).load(name)
        except (BackendUnavailable, BackendRefused) as error:
            self._note(backend.id, name, f"It was not loaded: {error}")
        else:
            self._note(backend.id, name, "")

    def _note(self, backend_id: str, name: str, text: str) -> None:
        notes = self._notes.setdefault(backend_id, {})
        notes.pop(name, None)
        if text:
            notes[name] = text

    async def _ollama(self, backend_id: str, by: User) -> Backend:
        _admin(by)
        backend = await self._backends.get(backend_id)
        if backend.kind is not BackendKind.OLLAMA:
            raise NotFound("This backend is no Ollama, and has no library.")
        return backend

    async def _told(self, asked: Coroutine[Any, Any, None], field: str) -> None:
        try:
            await asked
        except (BackendUnavailable, BackendRefused) as error:
            raise BadInput(str(error), field=field) from error
        self._stock.forget()


class _Gguf:
    """What is to be known of a GGUF file while it arrives."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._is_begun = False

    def look(self, chunk: bytes) -> None:
        """Raises BadInput for what is none."""
        if not self._is_begun and not _begins_gguf(chunk):
            raise BadInput("This is no GGUF file that Ollama could read.", field="file")
        self._is_begun = True
        self.digest.update(chunk)


def _begins_gguf(chunk: bytes) -> bool:
    """Whether a file that begins so has anything in it: Ollama makes a model of an empty one, too."""
    if len(chunk) < _GGUF.size:
        return False
    magic, version, tensors, pairs = _GGUF.unpack_from(chunk)
    return bool(magic == b"GGUF" and 2 <= version <= 3 and 0 < tensors < 2**32 and 0 < pairs < 2**32)


def _admin(user: User) -> None:
    if not user.role.administers:
        raise Forbidden("Only an admin can change models.")

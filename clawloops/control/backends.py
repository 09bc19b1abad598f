"""Model backends and their keys: each is checked with a real call before it is kept, and a key is sealed."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.control.connecting import BundledParts, backend_of, chosen, models_of
from clawloops.control.models import Models, is_name, keep_a_default, sealed_for
from clawloops.errors import (
    BackendRefused,
    BackendUnavailable,
    BadInput,
    ClawLoopsError,
    Conflict,
    Forbidden,
    NotFound,
)
from clawloops.gateway import providers
from clawloops.gateway.health import Condition, Health
from clawloops.gateway.queue import Queue, Standing
from clawloops.log import redactor
from clawloops.model.account import User
from clawloops.model.provider import Backend, BackendKind
from clawloops.store import backends, credentials, models
from clawloops.store.credentials import TABLE, Kept
from clawloops.store.db import Database
from clawloops.store.seal import Sealer

LOOK_EVERY_S = 15
ALL_EVERY = 4  # looks; the ones between are at those that failed
MOST_KEYS = 20
_HINT = 4  # characters of a key that its admin may compare
MOST_SLOTS = 1000
MOST_WATTS = 100_000
MOST_MEMORY_MB = 10_000_000
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shelf:
    """A backend as an admin sees it."""

    backend: Backend
    keys: tuple[Kept, ...]
    condition: Condition
    served: tuple[str, ...]  # the public names that lead there


@dataclass(frozen=True, slots=True)
class Line:
    """The queue before a backend, as somebody may see it."""

    backend: Backend
    running: int  # calls of everybody
    waiting: int
    calls: tuple[Standing, ...]  # those that run, then those that wait, the next one first


class Backends:
    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        session: aiohttp.ClientSession,
        models: Models,
        *,
        health: Health,
        queue: Queue,
        audit: Audit,
        bundled: BundledParts,
    ) -> None:
        self._db = db
        self._sealer = sealer
        self._session = session
        self._models = models
        self._health = health
        self._queue = queue
        self._audit = audit
        self._bundled = bundled

    async def all(self) -> list[Backend]:
        return await backends.all(self._db)

    def lines(self, *, by: User) -> list[Line]:
        """Each backend that serves few calls at once, with who runs and who waits there. Memory only.

        For a member: those where calls of theirs are, and of these nobody else's.
        """
        found = []
        for backend in self._models.backends():
            if not backend.slots:
                continue
            calls = self._queue.standings(backend.id)
            waiting = sum(each.place > 0 for each in calls)
            shown = tuple(each for each in calls if by.role.oversees or each.user_id == by.id)
            if shown or by.role.oversees:
                found.append(Line(backend, len(calls) - waiting, waiting, shown))
        return found

    def standings_of(self, backend_id: str) -> list[Standing]:
        """Who runs and who waits at one of them."""
        return self._queue.standings(backend_id)

    def waiting_of(self, user_id: str) -> list[Standing]:
        """One member's calls that wait for their turn, the next one first. Memory only."""
        mine = (each for each in self._queue.all() if each.user_id == user_id and each.place)
        return sorted(mine, key=lambda each: each.expected_s)

    async def shelves(self) -> list[Shelf]:
        """Every backend with its keys, how it does, and what is served from it."""
        keys = await credentials.all(self._db)
        names = self._models.names()
        now = time.monotonic()
        return [
            Shelf(
                backend,
                tuple(each for each in keys if each.backend_id == backend.id),
                self._health.condition(backend.id, now),
                tuple(each.name for each in names if any(place.backend_id == backend.id for place in each.places)),
            )
            for backend in await backends.all(self._db)
        ]

    def key_is_aside(self, credential_id: str) -> bool:
        """Whether its backend refused it, or asked it to slow down, a moment ago."""
        return self._health.key_is_aside(credential_id, time.monotonic())

    async def add(
        self, *, kind: BackendKind, name: str, url: str, provider: str, key: str, names: Sequence[str], by: User
    ) -> Backend:
        """Check a backend with a real completion on its first model; keep it only if that worked.

        `names` are the backend's own model names; when empty, what the backend lists is taken (at most 25).
        Raises BadInput with the field that is wrong: an address that does not answer, a key that is refused.
        """
        _admin(by)
        key = key.strip()
        redactor.add(key)
        backend = backend_of(kind, self._bundled, name=name, url=url, provider=provider)
        wanted = await self._checked(backend, key or None, [each.strip() for each in names if each.strip()])
        try:
            async with self._db.transaction():
                await backends.add(self._db, backend)
                if key:
                    await credentials.add(self._db, self._seal(backend, key, name="", group_id=None))
                for model in models_of(backend, wanted, first=not await models.all(self._db)):
                    await models.add(self._db, model)
        except Conflict:
            raise await self._taken(backend) from None
        await self._audit.record(by.id, "model backend added", backend.name, ", ".join(wanted))
        await self._models.changed()
        return backend

    async def remove(self, backend_id: str, *, by: User) -> None:
        """Forget a backend, its sealed keys, and the names that then lead nowhere. Raises NotFound."""
        _admin(by)
        backend = await self.get(backend_id)
        async with self._db.transaction():
            await backends.delete(self._db, backend_id)
            await models.delete_homeless(self._db)
            await keep_a_default(self._db)
        self._health.worked(backend_id)
        await self._audit.record(by.id, "model backend removed", backend.name)
        await self._models.changed()

    async def set_load(self, backend_id: str, *, slots: int, watts: int, memory_mb: int, by: User) -> None:
        """How many calls it serves at once (0: as many as come), what it draws then (W), and its GPU's memory (MiB).

        0 where one of the latter is not known.

        Raises NotFound, and BadInput with the field that is wrong.
        """
        _admin(by)
        if not 0 <= slots <= MOST_SLOTS:
            raise BadInput(f"Give a number from 0 to {MOST_SLOTS}; 0 lets all calls through at once.", field="slots")
        if not 0 <= watts <= MOST_WATTS:
            raise BadInput(f"Give a number from 0 to {MOST_WATTS}; 0 when you do not know it.", field="watts")
        if not 0 <= memory_mb <= MOST_MEMORY_MB:
            raise BadInput(f"Give a number from 0 to {MOST_MEMORY_MB}; 0 when you do not know it.", field="memory")
        await backends.set_load(self._db, backend_id, slots=slots, watts=watts, memory_mb=memory_mb)
        said = f"{slots} calls at once, {watts} W, {memory_mb} MiB"
        await self._audit.record(by.id, "load of a backend", backend_id, said)
        await self._models.changed()

    async def add_key(self, backend_id: str, key: str, *, name: str, group_id: str, by: User) -> None:
        """One more key, for everybody's calls or ("" for none) for those of one group. It is checked with a real call.

        Raises NotFound, and BadInput with the field that is wrong.
        """
        _admin(by)
        backend = await self.get(backend_id)
        key = key.strip()
        if not key:
            raise BadInput("Give the key.", field="key")
        redactor.add(key)
        if sum(each.backend_id == backend_id for each in await credentials.all(self._db)) >= MOST_KEYS:
            raise BadInput(f"It has {MOST_KEYS} keys already. Remove one that is no longer needed.", field="key")
        served = [
            place.upstream for model in self._models.names() for place in model.places if place.backend_id == backend_id
        ]
        await self._checked(backend, key, served[:1])
        kept = self._seal(backend, key, name=" ".join(name.split())[:60], group_id=group_id or None)
        try:
            await credentials.add(self._db, kept)
        except Conflict:
            raise BadInput(
                "This backend or this group was removed meanwhile. Reload the page.", field="group"
            ) from None
        await self._audit.record(by.id, "backend key added", backend.name, kept.hint)
        await self._models.changed()

    async def remove_key(self, backend_id: str, credential_id: str, *, by: User) -> None:
        """The next call no longer uses it. Raises NotFound."""
        _admin(by)
        backend = await self.get(backend_id)
        if not await credentials.delete(self._db, credential_id, backend_id):
            raise NotFound("This key was removed already. Reload the page.")
        self._health.forget_key(credential_id)
        await self._audit.record(by.id, "backend key removed", backend.name)
        await self._models.changed()

    async def run(self) -> None:
        """Ask backends whether they are there, those that failed more often, until cancelled."""
        turn = 0
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            turn += 1
            try:
                for backend in await backends.all(self._db):
                    if turn % ALL_EVERY == 0 or self._health.condition(backend.id, time.monotonic()).why:
                        await self._look(backend)
            except ClawLoopsError as error:
                log.error("backends were not looked at: %s", error)

    async def _look(self, backend: Backend) -> None:
        parts = {"litellm_url": self._bundled.litellm_url, "litellm_key": self._bundled.litellm_key}
        if backend.kind is BackendKind.LITELLM:  # a provider has no list that costs nothing: its next call will tell
            return
        try:
            await providers.probe(self._session, backend, self._models.key_of(backend.id), model=None, **parts)
        except BackendUnavailable as error:
            self._health.failed(backend.id, str(error), time.monotonic(), at=now_ms())
        except BackendRefused:
            self._health.worked(backend.id)  # it is there; what it refuses, a call says in its own words
        else:
            self._health.worked(backend.id)

    async def get(self, backend_id: str) -> Backend:
        """Raises NotFound."""
        backend = await backends.get(self._db, backend_id)
        if backend is None:
            raise NotFound("This backend was removed already. Reload the page.")
        return backend

    def _seal(self, backend: Backend, key: str, *, name: str, group_id: str | None) -> Kept:
        sealed = self._sealer.seal(
            key, table=TABLE, credential_id="c" + secrets.token_hex(8), provider=sealed_for(backend),
            owner=backend.id, version=1,
        )  # fmt: skip
        hint = key[-_HINT:] if len(key) >= 4 * _HINT else ""
        return Kept(sealed, backend.id, name, hint, group_id, now_ms())

    async def _taken(self, backend: Backend) -> BadInput:
        if any(each.name == backend.name for each in await backends.all(self._db)):
            return BadInput("There is a backend of this name. Give this one another name.", field="name")
        return BadInput(
            "One of these names is taken already. Connect this backend with other models, or remove that name first.",
            field="models",
        )

    async def _checked(self, backend: Backend, key: str | None, names: list[str]) -> list[str]:
        parts = {"litellm_url": self._bundled.litellm_url, "litellm_key": self._bundled.litellm_key}
        field = "provider" if backend.kind is BackendKind.LITELLM else "url"
        try:
            listed = await providers.probe(self._session, backend, key, model=names[0] if names else None, **parts)
            if backend.kind is BackendKind.OLLAMA and not names and not listed:
                return []  # an empty one is filled from its library
            wanted = names or chosen(listed)
            for each in wanted:
                if not is_name(each):
                    raise BadInput(f"{each!r} is not a model name.", field="models")
            await providers.check(self._session, backend, key, model=wanted[0], **parts)
        except BackendUnavailable as error:
            raise BadInput(str(error), field=field) from error
        except BackendRefused as error:
            refused = error.status in (401, 403)
            raise BadInput(str(error), field="key" if refused else "models") from error
        return list(dict.fromkeys(wanted))


def _admin(user: User) -> None:
    if not user.role.administers:
        raise Forbidden("Only an admin can change models.")

"""Public names: where each leads, whom it is open to, which is the default; and the gateway is told of every change."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Iterator, Sequence

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.control.prices import Prices
from clawloops.errors import BackendUnavailable, BadInput, ClawLoopsError, Conflict, Forbidden, NotFound
from clawloops.gateway.route import Directory
from clawloops.log import redactor
from clawloops.model.account import Group, User
from clawloops.model.provider import Backend, Credential, Grants, Model, Place, Route, Target
from clawloops.model.usage import Price
from clawloops.store import backends, budgets, credentials, groups, models
from clawloops.store.credentials import TABLE, Kept
from clawloops.store.db import Database
from clawloops.store.prices import Listed
from clawloops.store.seal import Sealer

MOST_PLACES = 5
PRICES_EVERY_S = 86_400.0
PRICES_AGAIN_S = 30.0
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$")
_WINDOW_RANGE = range(1024, 10_000_001)
_ANSWER_RANGE = range(1, 1_000_001)
log = logging.getLogger(__name__)


class Models:
    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        directory: Directory,
        audit: Audit,
        *,
        prices: Prices,
        wake_all: Callable[[], None],
    ) -> None:
        self._db = db
        self._sealer = sealer
        self._directory = directory
        self._audit = audit
        self._prices = prices
        self._wake_all = wake_all
        self._keys: dict[str, list[Credential]] = {}  # by backend id

    async def load(self) -> None:
        """Open every key in memory and tell the gateway which names lead where, for whom. Raises SealBroken."""
        known = {each.id: each for each in await backends.all(self._db)}
        known_groups = await groups.all(self._db)
        members = {each.id: each.members for each in known_groups}
        self._directory.set_weights(_weights(known_groups))
        keys: dict[str, list[Credential]] = {}
        for kept in await credentials.all(self._db):
            users = None if kept.group_id is None else members.get(kept.group_id, frozenset())
            credential = Credential(kept.id, self._open(kept, known[kept.backend_id]), users)
            keys.setdefault(kept.backend_id, []).append(credential)
        granted = await models.grants(self._db)
        self._keys = keys
        self._directory.set_routes(
            [
                Route(
                    model,
                    tuple(
                        Target(
                            backend := known[place.backend_id],
                            place.upstream,
                            tuple(keys.get(backend.id, ())),
                            self._prices.of(backend, place.upstream).price,
                        )
                        for place in model.places
                    ),
                    None if model.is_open else _users(granted.get(model.id, Grants()), members),
                )
                for model in await models.all(self._db)
            ]
        )

    async def changed(self) -> None:
        """Something that routes depend on was changed and committed."""
        await self.load()
        self._wake_all()

    async def set_price(self, place: Place, price: Price | None, *, by: User) -> None:
        """See `Prices.set_own`; the next call is priced so."""
        await self._prices.set_own(place, price, by=by)
        await self.load()

    def prices_of(self, model: Model) -> list[tuple[Backend, str, Listed]]:
        """What it costs at each of its places. Raises NotFound."""
        route = next((each for each in self._directory.routes() if each.model.id == model.id), None)
        if route is None:
            raise NotFound("There is no such model (any more). Reload the page.")
        return [(each.backend, each.upstream, self._prices.of(each.backend, each.upstream)) for each in route.targets]

    async def follow_prices(self) -> None:
        """Ask LiteLLM for its prices once it is up, and each day, until cancelled."""
        while self._prices.are_told:
            try:
                if await self._prices.look([(each.backend, each.upstream) for each in self._targets()]):
                    await self.load()
                pause_s = PRICES_EVERY_S
            except BackendUnavailable as error:
                log.info("prices stay as they were: %s", error)
                pause_s = PRICES_AGAIN_S
            except ClawLoopsError as error:
                log.error("prices stay as they were: %s", error)
                pause_s = PRICES_AGAIN_S
            await asyncio.sleep(pause_s)

    def backends(self) -> list[Backend]:
        """Those that a name leads to."""
        return list({each.backend.id: each.backend for each in self._targets()}.values())

    def _targets(self) -> Iterator[Target]:
        for route in self._directory.routes():
            yield from route.targets

    def names(self) -> list[Model]:
        """All public names: the default first."""
        return [route.model for route in self._directory.routes()]

    def names_for(self, user: User) -> list[Model]:
        """Those that this member may use, in the same order."""
        return [route.model for route in self._directory.routes_for(user.id)]

    def key_of(self, backend_id: str) -> str | None:
        """One of its keys, everybody's where there is one; None where it has none."""
        keys = sorted(self._keys.get(backend_id, ()), key=lambda each: each.users is not None)
        return keys[0].key if keys else None

    async def grants(self) -> dict[str, Grants]:
        """By model id, of those that are not open to everybody."""
        return await models.grants(self._db)

    async def publish(
        self, name: str, places: Sequence[Place], *, context_window: int, max_tokens: int, by: User
    ) -> Model:
        """Give a name to what is served in these places, the first being asked first.

        Raises BadInput with the field that is wrong.
        """
        _admin(by)
        model = Model(
            id="m" + secrets.token_hex(8),
            name=name.strip(),
            places=tuple(places),
            context_window=context_window,
            max_tokens=max_tokens,
            is_default=not await models.all(self._db),
            created_at=now_ms(),
        )
        _check(model)
        try:
            await models.add(self._db, model)
        except Conflict:
            raise await self._refused(model) from None
        await self._audit.record(by.id, "model name added", model.name, f"{len(places)} places")
        await self.changed()
        return model

    async def change(self, model: Model, grants: Grants, *, by: User) -> None:
        """Keep `model` and its grants as they are given. Raises NotFound, and BadInput with the field that is wrong."""
        _admin(by)
        _check(model)
        counted = {each.subject for each in await budgets.all(self._db)}
        if model.id in counted and self.get(model.id).name != model.name:  # the ledger has its calls by their name
            raise BadInput("A budget counts this name. Remove the budget before you change the name.", field="name")
        try:
            async with self._db.transaction():
                await models.change(self._db, model)
                await models.grant(self._db, model.id, Grants() if model.is_open else grants)
        except Conflict:
            raise await self._refused(model) from None
        await self._audit.record(by.id, "model name changed", model.name)
        await self.changed()

    async def remove(self, model_id: str, *, by: User) -> None:
        """Forget a name; what it led to stays. Raises NotFound."""
        _admin(by)
        model = self.get(model_id)
        async with self._db.transaction():
            await models.delete(self._db, model_id)
            await keep_a_default(self._db)
        await self._audit.record(by.id, "model name removed", model.name)
        await self.changed()

    async def set_default(self, model_id: str, *, by: User) -> None:
        """The model that new chats start with, in every workspace."""
        _admin(by)
        await models.set_default(self._db, model_id)
        await self._audit.record(by.id, "default model", model_id)
        await self.changed()

    def get(self, model_id: str) -> Model:
        """Raises NotFound."""
        model = next((each for each in self.names() if each.id == model_id), None)
        if model is None:
            raise NotFound("There is no such model (any more). Reload the page.")
        return model

    def _open(self, kept: Kept, backend: Backend) -> str:
        key = self._sealer.open(kept.sealed, table=TABLE, provider=sealed_for(backend), owner=backend.id)
        redactor.add(key)
        return key

    async def _refused(self, model: Model) -> BadInput:
        if any(each.name == model.name and each.id != model.id for each in await models.all(self._db)):
            return BadInput("This name is taken. Choose another one.", field="name")
        return BadInput("One of these was removed meanwhile. Reload the page.", field="places")


async def keep_a_default(db: Database) -> None:
    """See to it that one of the names is the default, in the caller's transaction."""
    left = await models.all(db)
    if left and not left[0].is_default:
        await models.set_default(db, left[0].id)


def sealed_for(backend: Backend) -> str:
    """What a sealed key is bound to besides its backend: where it may be sent."""
    return f"{backend.kind}:{backend.provider}:{backend.url}"


def is_name(text: str) -> bool:
    return bool(_NAME.match(text))


def _check(model: Model) -> None:
    if not is_name(model.name):
        raise BadInput(
            "A name has up to 128 letters, digits and . _ : / @ + - and begins with a letter or digit.", field="name"
        )
    if not 1 <= len(model.places) <= MOST_PLACES:
        raise BadInput(f"Give 1 to {MOST_PLACES} places where it is served.", field="places")
    if len(set(model.places)) < len(model.places):
        raise BadInput("The same place is given twice.", field="places")
    for place in model.places:
        if not is_name(place.upstream):
            raise BadInput(f"{place.upstream[:100]!r} is not a model name.", field="places")
    if model.context_window not in _WINDOW_RANGE:
        raise BadInput("The context window has 1,024 to 10,000,000 tokens.", field="context_window")
    if model.max_tokens not in _ANSWER_RANGE:
        raise BadInput("An answer has 1 to 1,000,000 tokens.", field="max_tokens")


def _weights(groups: Sequence[Group]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for group in groups:
        for user_id in group.members:
            weights[user_id] = max(weights.get(user_id, 1.0), float(group.weight))
    return weights


def _users(grants: Grants, members: dict[str, frozenset[str]]) -> frozenset[str]:
    return grants.users.union(*(members.get(each, frozenset()) for each in grants.groups))


def _admin(user: User) -> None:
    if not user.role.administers:
        raise Forbidden("Only an admin can change models.")

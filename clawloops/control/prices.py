"""What models cost: as LiteLLM's table has it, or as an admin says. Calls are priced from memory."""

from __future__ import annotations

import difflib
import json
import logging

import aiohttp

from clawloops.control.audit import Audit
from clawloops.control.connecting import BundledParts
from clawloops.errors import BadInput, Conflict, Forbidden, NotFound
from clawloops.gateway import pricing
from clawloops.model.account import User
from clawloops.model.provider import Backend, Place
from clawloops.model.report import Compared
from clawloops.model.usage import FREE, Price
from clawloops.store import meta, prices
from clawloops.store.db import Database
from clawloops.store.prices import Listed

_COMPARED = "usage:compared-with"  # in `meta`
MOST = 10**12  # µUSD of a million tokens: a dollar for each
log = logging.getLogger(__name__)


class Prices:
    def __init__(self, db: Database, audit: Audit, session: aiohttp.ClientSession, bundled: BundledParts) -> None:
        self._db = db
        self._audit = audit
        self._session = session
        self._bundled = bundled
        self._table: pricing.Table = {}
        self._kept: dict[Place, Listed] = {}
        self._compared: Compared | None = None

    async def load(self) -> None:
        """Read what was kept: the table itself comes once LiteLLM is up."""
        self._kept = await prices.all(self._db)
        said = await meta.get(self._db, _COMPARED)
        self._compared = _read(said) if said else None

    @property
    def compared(self) -> Compared | None:
        """What this box's own answers are compared with, at its price of today where the table is known."""
        if self._compared is None or self._compared.name not in self._table:
            return self._compared
        return Compared(self._compared.name, self._table[self._compared.name][1])

    async def compare_with(self, name: str, *, by: User) -> None:
        """From now on; "" for nothing. Raises BadInput with the field."""
        if not by.role.administers:
            raise Forbidden("Only an admin can choose what is compared with.")
        name = name.strip()
        if name and not self._table:
            raise BadInput("LiteLLM has not told its prices yet. Try again in a minute.", field="model")
        if name and name not in self._table:
            close = difflib.get_close_matches(name[:100], self._table, n=1)
            meant = f"Did you mean {close[0]}?" if close else "Names are such as gpt-4o or claude-sonnet-4-5."
            raise BadInput(f"LiteLLM's table of prices has no {name[:100]!r}. {meant}", field="model")
        price = self._table[name][1] if name else FREE
        async with self._db.transaction():
            kept = {"name": name, "input": price.input, "output": price.output, "cached": price.cached}
            await meta.put(self._db, _COMPARED, json.dumps(kept) if name else "")
            await self._audit.record(by.id, "usage compared with", name or "nothing")
        await self.load()

    @property
    def are_told(self) -> bool:
        """Whether there is a LiteLLM to ask."""
        return bool(self._bundled.litellm_url)

    def of(self, backend: Backend, upstream: str) -> Listed:
        """What a model costs there now; `FREE` where nobody says otherwise."""
        kept = self._kept.get(Place(backend.id, upstream))
        if kept is not None and kept.is_own:
            return kept
        price = pricing.price_in(self._table, backend, upstream)
        return Listed(price, is_own=False) if price is not None else kept or Listed(FREE, is_own=False)

    async def set_own(self, place: Place, price: Price | None, *, by: User) -> None:
        """An admin's own price; None: as in the table again. Raises NotFound, and BadInput with the field."""
        if not by.role.administers:
            raise Forbidden("Only an admin can set prices.")
        if price is None:
            await prices.delete(self._db, place)
        else:
            for field, amount in (("input", price.input), ("output", price.output), ("cached", price.cached)):
                if not 0 <= amount <= MOST:
                    raise BadInput("A million tokens cost between 0 and 1,000,000 dollars.", field=field)
            try:
                await prices.put(self._db, {place: Listed(price, is_own=True)})
            except Conflict:
                raise NotFound("This backend was removed meanwhile. Reload the page.") from None
        said = f"{price.input}, {price.cached}, {price.output} µUSD" if price else "as in LiteLLM's table"
        await self._audit.record(by.id, "price set", place.backend_id, f"{place.upstream}: {said}")
        await self.load()

    async def look(self, used: list[tuple[Backend, str]]) -> bool:
        """Ask LiteLLM for its table, and keep what it says of the models in use. Returns whether a price changed.

        Raises BackendUnavailable.
        """
        self._table = await pricing.price_table(self._session, self._bundled.litellm_url)
        now = {Place(backend.id, upstream): self.of(backend, upstream) for backend, upstream in used}
        changed = {
            place: listed
            for place, listed in now.items()
            if listed != self._kept.get(place) and (listed.price != FREE or place in self._kept)
        }
        if changed:
            try:
                await prices.put(self._db, changed)
            except Conflict:
                log.info("prices are kept at the next look: a backend was removed meanwhile")
            await self.load()
        return bool(changed)


def _read(said: str) -> Compared:
    kept = json.loads(said)
    return Compared(kept["name"], Price(kept["input"], kept["output"], kept["cached"]))

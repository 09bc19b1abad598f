"""Uses of decoy keys and the numbers of decoys, on both databases."""

from __future__ import annotations

from dataclasses import replace

from clawloops.model.decoy import Place, Use
from clawloops.store import decoys, runtimes, users
from clawloops.store.db import Database
from clawloops.store.own_keys import audit_key, decoy_key
from clawloops.store.seal import Sealer
from tests.store import rows

USE = Use("r1", Place.SIGN_IN, "203.0.113.9", 1, 5, 5, has_stopped=False)


async def test_uses_are_counted_for_each_place_and_origin(db: Database) -> None:
    inside = Use("r1", Place.GATEWAY, "r1", 2, 4, 9, has_stopped=True)
    await decoys.put(db, [USE, inside])
    await decoys.put(db, [replace(USE, count=3, last_at=8, has_stopped=True), replace(USE, runtime_id="r2")])
    assert await decoys.all(db) == [
        inside,
        replace(USE, count=3, last_at=8, has_stopped=True),
        replace(USE, runtime_id="r2"),
    ]
    await decoys.delete(db, "r1")
    assert await decoys.all(db) == [replace(USE, runtime_id="r2")]


async def test_a_decoy_is_renewed_whoever_changes_the_row_meanwhile(db: Database) -> None:
    await users.add(db, rows.user())
    made = rows.runtime()
    await runtimes.add(db, made)
    assert made.decoy == 0
    renewed = await runtimes.renew_decoy(db, made.id)
    assert renewed is not None and (renewed.decoy, renewed.version) == (1, made.version + 1)
    assert await runtimes.get(db, made.id) == renewed
    assert await runtimes.renew_decoy(db, "r-none") is None


async def test_the_key_of_decoys_is_not_the_one_of_the_audit(db: Database) -> None:
    sealer = Sealer(bytes(32), install_id="0a1b2c3d")
    made = await decoy_key(db, sealer)
    assert made == await decoy_key(db, sealer) != await audit_key(db, sealer)

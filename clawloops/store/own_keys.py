"""Keys that this box makes for itself, once: kept sealed in the database, so that it alone does not tell them."""

from __future__ import annotations

import secrets

from clawloops.errors import SealBroken, SetupError
from clawloops.store import meta
from clawloops.store.db import Database
from clawloops.store.seal import Sealer, from_json, to_json

_WHAT = {
    "audit": "of the audit's chain",
    "decoys": "that decoy keys are made with",
    "links": "that links in e-mails are made with",
}


async def audit_key(db: Database, sealer: Sealer) -> bytes:
    """The one of the audit's chain. Raises SetupError when it was changed, or sealed with another master key."""
    return await _key(db, sealer, "audit")


async def decoy_key(db: Database, sealer: Sealer) -> bytes:
    """The one that decoys are made with. Raises SetupError as `audit_key` does."""
    return await _key(db, sealer, "decoys")


async def link_key(db: Database, sealer: Sealer) -> bytes:
    """The one that links in e-mails are made with. Raises SetupError as `audit_key` does."""
    return await _key(db, sealer, "links")


async def reseal(db: Database, old: Sealer, new: Sealer) -> None:
    """Seal all of them with another master key, in the caller's transaction. Raises SetupError."""
    for which in _WHAT:
        text = await meta.get(db, _name(which))
        if text is not None:
            await _keep(db, new, which, _open(text, old, which))


async def _key(db: Database, sealer: Sealer, which: str) -> bytes:
    """Make it where there is none."""
    async with db.transaction():
        text = await meta.get(db, _name(which))
        if text is None:
            made = secrets.token_bytes(32)
            await _keep(db, sealer, which, made)
            return made
    return _open(text, sealer, which)


async def _keep(db: Database, sealer: Sealer, which: str, key: bytes) -> None:
    sealed = sealer.seal(key.hex(), credential_id=which, version=1, **_place(which))
    await meta.put(db, _name(which), to_json(sealed))


def _open(text: str, sealer: Sealer, which: str) -> bytes:
    try:
        return bytes.fromhex(sealer.open(from_json(text), **_place(which)))
    except (SealBroken, ValueError, KeyError, TypeError) as error:
        raise SetupError(
            f"the key {_WHAT[which]} does not open: it was changed in the database, or belongs to another master "
            "key; restore a backup of the database"
        ) from error


def _name(which: str) -> str:
    return f"{which}:key"


def _place(which: str) -> dict[str, str]:
    return {"table": "meta", "provider": "", "owner": _name(which)}

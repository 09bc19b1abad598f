"""The key of the audit's chain: made once, and kept sealed beside it, so that the database alone does not tell it."""

from __future__ import annotations

import secrets

from clawloops.errors import SealBroken, SetupError
from clawloops.store import meta
from clawloops.store.db import Database
from clawloops.store.seal import Sealer, from_json, to_json

_NAME = "audit:key"
_PLACE = {"table": "meta", "provider": "", "owner": _NAME}


async def audit_key(db: Database, sealer: Sealer) -> bytes:
    """Make it where there is none. Raises SetupError when it was changed, or sealed with another master key."""
    async with db.transaction():
        text = await meta.get(db, _NAME)
        if text is None:
            made = secrets.token_bytes(32)
            await _keep(db, sealer, made)
            return made
    return _open(text, sealer)


async def reseal(db: Database, old: Sealer, new: Sealer) -> None:
    """Seal it with another master key, in the caller's transaction. Raises SetupError."""
    text = await meta.get(db, _NAME)
    if text is not None:
        await _keep(db, new, _open(text, old))


async def _keep(db: Database, sealer: Sealer, key: bytes) -> None:
    await meta.put(db, _NAME, to_json(sealer.seal(key.hex(), credential_id="audit", version=1, **_PLACE)))


def _open(text: str, sealer: Sealer) -> bytes:
    try:
        return bytes.fromhex(sealer.open(from_json(text), **_PLACE))
    except (SealBroken, ValueError, KeyError, TypeError) as error:
        raise SetupError(
            "the key of the audit's chain does not open: it was changed in the database, or belongs to another master "
            "key; restore a backup of the database"
        ) from error

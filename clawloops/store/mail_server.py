"""The mail server that this box sends through, with its password sealed: one value of `meta`, changed as a whole."""

from __future__ import annotations

import json

from clawloops.errors import SealBroken
from clawloops.model.mail import MailServer, Security
from clawloops.store import meta
from clawloops.store.db import Database
from clawloops.store.seal import Sealed, Sealer, from_json, to_json

_KEY = "mail:server"


async def get(db: Database, sealer: Sealer) -> tuple[MailServer, str] | None:
    """With its password, "" for none. Raises SealBroken."""
    found = await _read(db)
    if found is None:
        return None
    server, sealed = found
    return server, "" if sealed is None else sealer.open(sealed, **_place(server))


async def put(db: Database, sealer: Sealer, server: MailServer, password: str) -> None:
    """The password is sealed for this server and user: put beside another one it does not open."""
    await _write(
        db, server, sealer.seal(password, credential_id="mail", version=1, **_place(server)) if password else None
    )


async def remove(db: Database) -> None:
    await meta.put(db, _KEY, "")


async def reseal(db: Database, old: Sealer, new: Sealer) -> None:
    """Seal it with another master key, in the caller's transaction. Raises SealBroken."""
    found = await _read(db)
    server, sealed = found or (None, None)
    if server is None or sealed is None:
        return
    try:
        password = old.open(sealed, **_place(server))
    except SealBroken as error:
        raise SealBroken(
            f"the password of the mail server does not open: {error}. Enter it anew under Members, E-mail, first."
        ) from error
    await put(db, new, server, password)


async def _read(db: Database) -> tuple[MailServer, Sealed | None] | None:
    text = await meta.get(db, _KEY)
    if not text:
        return None
    try:
        kept = json.loads(text)
        sealed = from_json(kept.pop("sealed")) if kept["sealed"] else None
        kept.pop("sealed", None)
        return MailServer(**{**kept, "security": Security(kept["security"])}), sealed
    except (ValueError, KeyError, TypeError) as error:
        raise SealBroken("the settings for e-mail were changed in the database; enter them again") from error


async def _write(db: Database, server: MailServer, sealed: Sealed | None) -> None:
    kept = {
        "host": server.host,
        "port": server.port,
        "security": server.security.value,
        "user": server.user,
        "sender": server.sender,
        "sealed": to_json(sealed) if sealed else "",
    }
    await meta.put(db, _KEY, json.dumps(kept))


def _place(server: MailServer) -> dict[str, str]:
    where = f"{server.security} {server.host}:{server.port} {server.user}"
    return {"table": "meta", "provider": where, "owner": _KEY}

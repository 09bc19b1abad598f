"""A new master key for everything that is sealed: all of it in one transaction, and the file changed after that.

While it lasts there are two files, `master.key` and `master.next`. Which of the two the database belongs to says how
far an interrupted rotation had come; it is taken up there. The old key is kept as `master.<its id>.old`: backups of
the database from before open with nothing else.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from clawloops.control.factors import place_of
from clawloops.control.issuer import place_of as place_of_issuer
from clawloops.control.models import sealed_for
from clawloops.durable import put_in_place, sync
from clawloops.errors import SealBroken, SetupError
from clawloops.store import (
    authenticators,
    backends,
    connections,
    credentials,
    issuers,
    mail_server,
    own_keys,
    users,
)
from clawloops.store.db import Database
from clawloops.store.seal import MASTER_BYTES, Sealed, Sealer, check_sentinel, is_own, load_master, set_sentinel

MASTER, NEXT = "master.key", "master.next"


@dataclass(frozen=True, slots=True)
class Rotated:
    sealed: int  # keys that are sealed anew
    key_id: str  # of the new master key
    kept: Path  # the old one


async def rotate(db: Database, keys: Path, *, install_id: str) -> Rotated:
    """Make a new master key in the folder `keys` and seal everything with it, or end what an earlier call began.

    No control plane may run. Raises SetupError, and SealBroken that names a key which does not open (nothing changes).
    """
    new_file = keys / NEXT
    if not new_file.exists():
        _write(new_file, secrets.token_bytes(MASTER_BYTES).hex())
    old = Sealer(load_master(keys / MASTER), install_id=install_id)
    new = Sealer(load_master(new_file), install_id=install_id)
    if not await is_own(db, new):
        await check_sentinel(db, old)
        await _seal_anew(db, old, new)
    kept = keys / f"master.{old.key_id}.old"
    kept.unlink(missing_ok=True)
    kept.hardlink_to(keys / MASTER)
    new_file.replace(keys / MASTER)  # at no time is there no master.key
    sync(keys)
    return Rotated(len(await credentials.all(db)), new.key_id, kept)


def refuse_half_rotated(keys: Path) -> None:
    """Raises SetupError while a rotation waits to be ended."""
    if (keys / NEXT).exists():
        raise SetupError(
            f"a rotation of the master key did not come to its end ({keys / NEXT} is there); end it: "
            "docker compose run --rm clawloops clawloops keys rotate"
        )


async def _seal_anew(db: Database, old: Sealer, new: Sealer) -> None:
    async with db.transaction():
        places = {each.id: each for each in await backends.all(db)}
        for kept in await credentials.all(db):
            backend = places[kept.backend_id]
            place = {"table": credentials.TABLE, "provider": sealed_for(backend), "owner": backend.id}
            try:
                sealed = _again(kept.sealed, old, new, place)
            except SealBroken as error:
                name = f"the key {kept.name or kept.hint or kept.id!r} of {backend.name!r}"
                raise SealBroken(f"{name} does not open: {error}. Remove it on the Models page first.") from error
            await credentials.reseal(db, sealed)
        people = {each.id: each.login for each in await users.all(db)}
        for app in await authenticators.all(db):
            try:
                sealed = _again(app.sealed, old, new, place_of(app.user_id))
            except SealBroken as error:
                login = people[app.user_id]
                remedy = f"First: clawloops member reset {login} --without-second-factor"
                raise SealBroken(f"the authenticator app of {login!r} does not open: {error}. {remedy}") from error
            await authenticators.reseal(db, sealed)
        issuer = await issuers.get(db)
        if issuer is not None:
            try:
                await issuers.reseal(db, _again(issuer.sealed, old, new, place_of_issuer(issuer.issuer)))
            except SealBroken as error:
                what = f"the client secret of {issuer.issuer.label!r} does not open: {error}"
                raise SealBroken(f"{what}. Remove the identity provider on the Members page first.") from error
        for each in await connections.all(db):
            try:
                sealed = _again(each.sealed, old, new, connections.place_of(each.connection))
            except SealBroken as error:
                of = f"{each.connection.name!r} of {people[each.connection.user_id]!r}"
                raise SealBroken(f"the connection {of} does not open: {error}. Its member removes it first.") from error
            await connections.reseal(db, sealed)
        await own_keys.reseal(db, old, new)
        await mail_server.reseal(db, old, new)
        await set_sentinel(db, new)


def _again(sealed: Sealed, old: Sealer, new: Sealer, place: dict[str, str]) -> Sealed:
    """The same secret for the same row, under the new key. Raises SealBroken."""
    secret = old.open(sealed, **place)
    made = new.seal(secret, credential_id=sealed.credential_id, version=sealed.version, **place)
    if new.open(made, **place) != secret:
        raise SealBroken("what was sealed with the new master key does not open; nothing was changed")
    return made


def _write(path: Path, text: str) -> None:
    """All of it or nothing."""
    making = path.with_suffix(".making")
    making.unlink(missing_ok=True)
    handle = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, text.encode() + b"\n")
    finally:
        os.close(handle)
    put_in_place(making, path)

"""A new master key: everything opens with it and nothing with the old one, whenever the rotation was cut off."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from clawloops import durable
from clawloops.control import rotation
from clawloops.control.audit import Audit
from clawloops.control.factors import place_of
from clawloops.control.issuer import place_of as place_of_issuer
from clawloops.control.models import sealed_for
from clawloops.control.rotation import MASTER, NEXT, refuse_half_rotated, rotate
from clawloops.errors import SealBroken, SetupError
from clawloops.model.connection import Connection, Kind
from clawloops.model.provider import Backend, BackendKind
from clawloops.store import authenticators, backends, connections, credentials, issuers, own_keys, users
from clawloops.store.authenticators import Authenticator
from clawloops.store.credentials import Kept
from clawloops.store.db import Database
from clawloops.store.own_keys import audit_key, decoy_key
from clawloops.store.seal import Sealer, check_sentinel, load_master
from tests.store import rows
from tests.store.test_seal import write_key
from tests.web.sign_on import SETTINGS

INSTALL = "0a1b2c3d"
APP = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
CONNECTION = Connection("x1", "u-ada", Kind.COMMAND, "near", "env", True, 1, 4, {"KEY": "canary"})
SECRETS = {f"c{number}": f"sk-{secrets.token_hex(8)}" for number in range(3)}


@pytest.fixture
async def keys(db: Database, tmp_path: Path) -> Path:
    """A folder with a master key, and a store with three keys of two backends sealed with it, and an audit."""
    folder = tmp_path / "keys"
    folder.mkdir()
    write_key(folder / MASTER, secrets.token_hex(32))
    sealer = _sealer(folder)
    await check_sentinel(db, sealer)
    made = [Backend(f"b{number}", f"Backend {number}", BackendKind.LITELLM, "", "openai", 1) for number in range(2)]
    for each in made:
        await backends.add(db, each)
    for number, (id_, secret) in enumerate(SECRETS.items()):
        backend = made[number % 2]
        sealed = sealer.seal(
            secret,
            table=credentials.TABLE,
            credential_id=id_,
            provider=sealed_for(backend),
            owner=backend.id,
            version=3,
        )
        await credentials.add(db, Kept(sealed, backend.id, "", secret[-4:], None, 1))
    await users.add(db, rows.user())
    app = sealer.seal(APP, credential_id="u-ada", version=2, **place_of("u-ada"))
    await authenticators.put(db, Authenticator(app, 1), used_step=7)
    issuer = replace(SETTINGS, url="https://auth.example")
    of_issuer = sealer.seal(APP, credential_id=issuers.ID, version=4, **place_of_issuer(issuer))
    await issuers.put(db, issuer, of_issuer, 1)
    await connections.add(db, sealer, CONNECTION)
    await Audit(db, await audit_key(db, sealer)).record(None, "signed in", "u")
    await decoy_key(db, sealer)
    return folder


def _sealer(folder: Path, name: str = MASTER) -> Sealer:
    return Sealer(load_master(folder / name), install_id=INSTALL)


async def _opened(db: Database, sealer: Sealer) -> dict[str, str]:
    places = {each.id: each for each in await backends.all(db)}
    return {
        each.id: sealer.open(
            each.sealed, table=credentials.TABLE, provider=sealed_for(places[each.backend_id]), owner=each.backend_id
        )
        for each in await credentials.all(db)
    }


async def _is_right(db: Database, folder: Path) -> None:
    sealer = _sealer(folder)
    await check_sentinel(db, sealer)
    refuse_half_rotated(folder)
    assert await _opened(db, sealer) == SECRETS
    app = await authenticators.get(db, "u-ada")
    assert app is not None and sealer.open(app.sealed, **place_of("u-ada")) == APP
    kept = await issuers.get(db)
    assert kept is not None and sealer.open(kept.sealed, **place_of_issuer(kept.issuer)) == APP
    assert await connections.of(db, sealer, "u-ada") == [CONNECTION]
    audit = Audit(db, await audit_key(db, sealer))
    await decoy_key(db, sealer)
    await audit.record(None, "signed in", "u")
    assert (await audit.verify()).why == ""


async def test_everything_opens_with_the_new_key_and_nothing_with_the_old_one(db: Database, keys: Path) -> None:
    old = _sealer(keys)
    decoys = await decoy_key(db, old)
    done = await rotate(db, keys, install_id=INSTALL)
    await _is_right(db, keys)
    assert await decoy_key(db, _sealer(keys)) == decoys, "those that lie in workspaces are known as before"
    assert (done.sealed, done.key_id) == (3, _sealer(keys).key_id)
    assert done.kept == keys / f"master.{old.key_id}.old" and _sealer(keys, done.kept.name).key_id == old.key_id
    with pytest.raises(SealBroken):
        await _opened(db, old)
    with pytest.raises(SetupError):
        await check_sentinel(db, old)
    assert sorted(each.name for each in keys.iterdir()) == sorted((MASTER, done.kept.name))
    assert {(each.stat().st_mode & 0o777) for each in keys.iterdir()} == {0o600}


async def test_again_and_again(db: Database, keys: Path) -> None:
    for _ in range(3):
        await rotate(db, keys, install_id=INSTALL)
    await _is_right(db, keys)
    assert len(list(keys.glob("master.*.old"))) == 3


Cut = Callable[[pytest.MonkeyPatch], None]


class Killed(BaseException):
    """The end of the process, in the middle of it."""


def _cut(place: object, name: str, *, after: int = 0) -> Cut:
    def set_(monkeypatch: pytest.MonkeyPatch) -> None:
        real, calls = getattr(place, name), 0

        def killed(*args: object, **named: object) -> object:
            nonlocal calls
            calls += 1
            if calls > after:
                raise Killed
            return real(*args, **named)

        monkeypatch.setattr(place, name, killed)

    return set_


@pytest.mark.parametrize(
    "cut",
    [
        _cut(os, "write"),
        _cut(os, "fsync"),  # of the new key's file
        _cut(rotation, "is_own"),  # the file is there, and nothing of it in the store
        _cut(credentials, "reseal", after=1),
        _cut(own_keys, "reseal"),
        _cut(rotation, "set_sentinel"),
        _cut(Path, "unlink", after=1),  # the store is done
        _cut(Path, "hardlink_to"),
        _cut(Path, "replace"),
        _cut(Path, "replace", after=1),
        _cut(durable, "sync", after=1),  # of the folder, once the new key's file is in it
        _cut(rotation, "sync"),  # all is done
    ],
)
async def test_a_rotation_that_was_cut_off_is_taken_up_where_it_was(
    db: Database, keys: Path, monkeypatch: pytest.MonkeyPatch, cut: Cut
) -> None:
    with monkeypatch.context() as patched:
        cut(patched)
        with pytest.raises(Killed):
            await rotate(db, keys, install_id=INSTALL)
    load_master(keys / MASTER)  # there is one at any time
    if (keys / NEXT).exists():
        with pytest.raises(SetupError, match="keys rotate"):
            refuse_half_rotated(keys)
    await rotate(db, keys, install_id=INSTALL)  # in any case
    await _is_right(db, keys)
    assert not list(keys.glob("*.making")) and not (keys / NEXT).exists()


async def test_a_key_that_does_not_open_stops_it_and_nothing_has_changed(db: Database, keys: Path) -> None:
    await db.execute("UPDATE credentials SET version = 9 WHERE id = 'c1'")
    before = _sealer(keys).key_id
    with pytest.raises(SealBroken, match="of 'Backend 1' does not open"):
        await rotate(db, keys, install_id=INSTALL)
    assert _sealer(keys).key_id == before
    await check_sentinel(db, _sealer(keys))
    await db.execute("UPDATE credentials SET version = 3 WHERE id = 'c1'")
    await rotate(db, keys, install_id=INSTALL)
    await _is_right(db, keys)


async def test_an_authenticator_app_that_does_not_open_stops_it_with_the_way_out(db: Database, keys: Path) -> None:
    await db.execute("UPDATE authenticators SET version = 9")
    with pytest.raises(SealBroken, match=r"of 'ada' does not open.*member reset ada --without-second-factor"):
        await rotate(db, keys, install_id=INSTALL)
    await check_sentinel(db, _sealer(keys))


async def test_a_master_key_of_another_store_is_refused(db: Database, keys: Path) -> None:
    (keys / MASTER).write_text(secrets.token_hex(32))
    with pytest.raises(SetupError, match="does not belong to this database"):
        await rotate(db, keys, install_id=INSTALL)

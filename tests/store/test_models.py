"""Names, the places they lead to, grants and keys come back as they went in, also from an older schema."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from clawloops.errors import Conflict, NotFound
from clawloops.model.provider import Grants, Place
from clawloops.store import backends, credentials, groups, models, users
from clawloops.store.db import Database
from clawloops.store.migrate import migrate, shipped
from clawloops.store.seal import Sealed
from tests.store import rows
from tests.store.rows import NOW

SEALED = Sealed("c1", 1, "00ff", b"\x00wrapped", b"nonce", b"\xffcipher")


async def test_a_removed_backend_takes_its_credential_and_models_along(db: Database) -> None:
    await backends.add(db, one := rows.backend())
    await backends.add(db, other := rows.backend("remote"))
    await credentials.add(db, rows.credential(one.id, SEALED))
    await models.add(db, rows.model())
    await models.add(db, kept := rows.model("large", other.id))
    assert await backends.all(db) == [one, other]
    await backends.delete(db, one.id)
    assert await backends.get(db, one.id) is None
    assert await backends.get(db, other.id) == other
    assert await credentials.all(db) == []
    await models.delete_homeless(db)
    assert await models.all(db) == [kept]


async def test_a_backend_has_several_keys_and_each_is_removed_by_itself(db: Database) -> None:
    await users.add(db, rows.user())
    await groups.add(db, rows.group("design", "u-ada"))
    await backends.add(db, rows.backend())
    await credentials.add(db, first := rows.credential("b-local", SEALED))
    other = replace(SEALED, credential_id="c2")
    await credentials.add(db, second := rows.credential("b-local", other, group_id="g-design", created_at=NOW + 1))
    assert await credentials.all(db) == [first, second]
    assert not await credentials.delete(db, first.id, "b-other")
    assert await credentials.delete(db, first.id, "b-local")
    await groups.delete(db, "g-design")
    assert await credentials.all(db) == [], "a key of a group goes with it"
    with pytest.raises(Conflict):
        await credentials.add(db, rows.credential("b-none", SEALED))


async def test_a_name_leads_to_its_places_in_order_and_is_open_to_whom_it_names(db: Database) -> None:
    for login in ("ada", "bob", "cem"):
        await users.add(db, rows.user(login))
    await groups.add(db, design := rows.group("design", "u-bob"))
    for name in ("local", "remote"):
        await backends.add(db, rows.backend(name))
    places = (Place("b-remote", "large-2"), Place("b-local", "small"), Place("b-remote", "large-1"))
    await models.add(db, rows.model("open"))
    await models.add(db, kept := rows.model("kept", places=places, is_open=False))
    assert await models.all(db) == [kept, rows.model("open")]
    await models.grant(db, kept.id, given := Grants(frozenset({"u-ada"}), frozenset({design.id})))
    assert await models.grants(db) == {kept.id: given}
    seen = {login: [each.name for each in await models.open_to(db, f"u-{login}")] for login in ("ada", "bob", "cem")}
    assert seen == {"ada": ["kept", "open"], "bob": ["kept", "open"], "cem": ["open"]}
    await models.change(db, changed := replace(kept, name="best", places=places[:1], context_window=64_000))
    assert await models.all(db) == [changed, rows.model("open")]
    await groups.delete(db, design.id)
    assert [each.name for each in await models.open_to(db, "u-bob")] == ["open"], "and not open to everybody now"
    await backends.delete(db, "b-remote")
    await models.delete_homeless(db)
    assert await models.all(db) == [rows.model("open")]
    with pytest.raises(NotFound):
        await models.change(db, changed)


async def test_groups_hold_members_under_a_name_that_is_taken_once(db: Database) -> None:
    for login in ("ada", "bob"):
        await users.add(db, rows.user(login))
    await groups.add(db, design := rows.group("design", "u-ada"))
    with pytest.raises(Conflict):
        await groups.add(db, replace(design, id="g-other"))
    with pytest.raises(Conflict):
        await groups.add(db, rows.group("other", "u-none"))
    assert await groups.all(db) == [design]
    await groups.change(db, changed := replace(design, name="Design", members=frozenset({"u-bob"}), weight=3))
    assert await groups.all(db) == [changed]
    with pytest.raises(NotFound):
        await groups.change(db, rows.group("none"))


async def test_models_come_default_first_then_by_name_in_any_locale(db: Database) -> None:
    await backends.add(db, rows.backend())
    for name in ("b", "a", "B", "z"):
        await models.add(db, rows.model(name))
    await models.set_default(db, "m-z")
    assert [each.name for each in await models.all(db)] == ["z", "B", "a", "b"]
    await models.set_default(db, "m-a")
    assert [(each.name, each.is_default) for each in await models.all(db)][:2] == [("a", True), ("B", False)]
    await models.delete(db, "m-a")
    assert [each.name for each in await models.all(db)] == ["B", "b", "z"]


async def test_there_is_one_default_and_an_unknown_one_changes_nothing(db: Database) -> None:
    await backends.add(db, rows.backend())
    await models.add(db, first := rows.model(is_default=True))
    with pytest.raises(Conflict):
        await models.add(db, rows.model("second", is_default=True))
    with pytest.raises(NotFound):
        await models.set_default(db, "m-none")
    assert await models.all(db) == [first]
    with pytest.raises(Conflict, match=r"models\.name"):
        await models.add(db, rows.model(id="m-other"))


async def test_names_and_keys_of_an_older_schema_stay_what_they_were(empty: Database, tmp_path: Path) -> None:
    await migrate(empty, backup_dir=tmp_path, migrations=shipped()[:3])
    await empty.execute(
        "INSERT INTO backends VALUES ('b-local', 'local', 'ollama', 'http://ollama:11434', '', $1)", NOW
    )
    await empty.execute(
        "INSERT INTO models VALUES ('m-small', 'small', 'b-local', 'small:latest', 32768, 4096, TRUE, $1)", NOW
    )
    await empty.execute(
        "INSERT INTO credentials VALUES ('c1', 'b-local', 1, '00ff', $1, $2, $3)",
        *(SEALED.wrapped, SEALED.nonce, SEALED.ciphertext),
    )
    await migrate(empty, backup_dir=tmp_path)
    assert await backends.all(empty) == [rows.backend(slots=1)]
    assert await models.all(empty) == [rows.model(is_default=True)]
    assert await credentials.all(empty) == [rows.credential("b-local", SEALED)]

"""An upgrade either happens whole, with a copy of what was before, or leaves the old schema as it was."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from importlib import resources
from pathlib import Path

import pytest

from clawloops.errors import SetupError
from clawloops.model.provider import Model
from clawloops.store import meta, models, users
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import Migration, migrate, shipped
from tests.store import rows

FIRST = Migration(1, "0001_one.sql", "CREATE TABLE one (n BIGINT PRIMARY KEY);\nINSERT INTO one VALUES (1);\n")
SECOND = Migration(2, "0002_two.sql", "CREATE TABLE two (n BIGINT);\nINSERT INTO two SELECT n FROM one;\n")
BROKEN = Migration(2, "0002_broken.sql", "CREATE TABLE two (n BIGINT);\nINSERT INTO one VALUES (1);\n")

# Migrations that were released must never change: add a line per release, never edit one.
RELEASED = {
    1: "e969c1b66ef06627f1ced027a3760aef8552b44fc1860cd5fcc972c50c94f150",
    2: "3d7a78ead56f30b0bd3456a908e55fe58337d1d0fff8d1391d1b7376a24488af",
    3: "39637d0712009a24104e1c05f1b66a0ccbb0b5fa9a579ba0a89315ee93dc9c52",
    4: "9be103f0932e806efe6bee884af0b60ca82f696b7be6807f3f964a5ecf25ae51",
    5: "b0cd2e0617f29457c58ee981f27b165c834108eb81cd9cc557a66a50fc59e620",
    6: "f4ab880484c6e8c9f760c7c0357d920392da5f30c2c2b5b2338ffc16075bb1ba",
    7: "bf832ee0bd341d86adb62f0ac202ea0bf8ff011d0c4bb4f62b8e70bfbf2fdfc9",
    8: "ec5f3c1b461a849e8d310f100032d31aee359f6788a038c34ccad2043956272b",
    9: "ad2a2bdf238d6014429063329ec6da02cf9ccb8204f4cc43c0f723e799acff79",
    10: "b6a2d759cc7ab0ad1005fac275b5d2143ecc09d00f74714b24d2152f83c1dee3",
    11: "ea7ddd1b1950c6fa7c0f9b30f3ec8d531eca34f989666024c7584cdea72382da",
    12: "e7dd0202075f16280b38534eca29b1221e759b26d045a05e5d05e4130c80ccc3",
    13: "63a4af52a4fcedb8e964c4f8a3a046d12204a0983c5e44955de0907bce2bbc82",
    14: "609fa1c9c5293e407e41a2471efd210b319a3baa36f9171aedca0233041bdd7a",
    15: "b80584748985f2a53db85e2136aea1859ec2de5787d7e703f4e5f2b3367fae1d",
    16: "74cf211d8aa843449233331834d6ff268f4ac2f70c0457c2491186b98783292a",
    17: "a985de95b5e1298cdfc0c7db96ab53208ea54d4f833058e2b94ca3607345d2f3",
    18: "89daea18f221d64af15548adce2b981f74b94472ae5eecd86be56aa5630770bf",
    19: "6679e290053c4e7a56002920d58f6f0a5c1c373d48a1c59fdeaf5bb608201987",
    20: "905938c860f855432293c00c73c4edb586cf52d84206633f7c7a39cc3d9ab661",
}


def test_released_migrations_were_not_changed() -> None:
    assert {each.number: each.sha256 for each in shipped() if each.number in RELEASED} == RELEASED
    assert {each.number for each in shipped()} == set(RELEASED), "add the new migration's SHA-256 to RELEASED"


async def test_an_empty_database_gets_the_whole_schema_and_no_backup(empty: Database, tmp_path: Path) -> None:
    assert await migrate(empty, backup_dir=tmp_path / "backups") == [each.number for each in shipped()]
    assert await migrate(empty, backup_dir=tmp_path / "backups") == []
    assert not (tmp_path / "backups").exists()
    await users.add(empty, rows.user())


async def test_each_migration_is_applied_once_in_order(empty: Database, tmp_path: Path) -> None:
    assert await migrate(empty, backup_dir=tmp_path, migrations=[FIRST]) == [1]
    assert await migrate(empty, backup_dir=tmp_path, migrations=[FIRST, SECOND]) == [2]
    assert await migrate(empty, backup_dir=tmp_path, migrations=[FIRST, SECOND]) == []
    assert await empty.fetch("SELECT n FROM two") == [{"n": 1}]


async def test_a_newer_schema_is_refused_with_the_next_step(empty: Database, tmp_path: Path) -> None:
    await migrate(empty, backup_dir=tmp_path, migrations=[FIRST, SECOND])
    with pytest.raises(SetupError, match=r"schema 2.*only up to 1.*run that version again, or restore"):
        await migrate(empty, backup_dir=tmp_path, migrations=[FIRST])
    assert await empty.fetch("SELECT n FROM two") == [{"n": 1}]


async def test_a_migration_that_was_changed_after_its_release_is_refused(empty: Database, tmp_path: Path) -> None:
    await migrate(empty, backup_dir=tmp_path, migrations=[FIRST])
    changed = Migration(1, FIRST.name, FIRST.text + "-- a word more\n")
    with pytest.raises(SetupError, match="not the one that this database was made with"):
        await migrate(empty, backup_dir=tmp_path, migrations=[changed, SECOND])


async def test_a_failing_migration_leaves_the_old_schema(empty: Database, tmp_path: Path) -> None:
    await migrate(empty, backup_dir=tmp_path, migrations=[FIRST])
    with pytest.raises(SetupError, match=r"0002_broken\.sql failed and was undone.*still has schema 1"):
        await migrate(empty, backup_dir=tmp_path, migrations=[FIRST, BROKEN])
    assert await empty.fetch("SELECT n FROM one") == [{"n": 1}]
    assert await migrate(empty, backup_dir=tmp_path, migrations=[FIRST, SECOND]) == [2]


async def test_migrations_before_a_failing_one_stay(empty: Database, tmp_path: Path) -> None:
    broken = Migration(3, "0003_broken.sql", "DROP TABLE one;\nDROP TABLE none;\n")
    with pytest.raises(SetupError, match="still has schema 2"):
        await migrate(empty, backup_dir=tmp_path, migrations=[FIRST, SECOND, broken])
    assert await empty.fetch("SELECT n FROM one") == [{"n": 1}]
    assert await empty.fetch("SELECT n FROM two") == [{"n": 1}]


async def test_two_programs_that_migrate_at_once_apply_each_migration_once(url: str, tmp_path: Path) -> None:
    programs = [await open_database(url) for _ in range(4)]
    applied = await asyncio.gather(
        *(migrate(db, backup_dir=tmp_path / "backups", migrations=[FIRST, SECOND]) for db in programs)
    )
    assert sorted(number for each in applied for number in each) == [1, 2]
    for db in programs:
        await db.close()


async def test_a_sqlite_file_is_backed_up_whole_before_an_upgrade(tmp_path: Path) -> None:
    path, folder = tmp_path / "store.db", tmp_path / "backups"
    db = await open_database(f"sqlite:///{path}")
    await migrate(db, backup_dir=folder, migrations=[FIRST])
    for n in range(2, 200):  # these stand in the write-ahead log only: a plain copy of the file would miss them
        await db.execute("INSERT INTO one VALUES ($1)", n)
    assert (tmp_path / "store.db-wal").stat().st_size > 0
    await migrate(db, backup_dir=folder, migrations=[FIRST, SECOND])
    await db.close()

    (copy,) = folder.iterdir()
    assert copy.name.startswith("store-schema1-") and copy.suffix == ".db"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700
    raw = sqlite3.connect(copy)
    assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert raw.execute("SELECT count(*) FROM one").fetchall() == [(199,)]
    assert raw.execute("SELECT name FROM sqlite_master WHERE name = 'two'").fetchall() == []
    raw.close()
    restored = await open_database(f"sqlite:///{copy}")
    assert await migrate(restored, backup_dir=tmp_path / "again", migrations=[FIRST, SECOND]) == [2]
    await restored.close()


async def test_without_a_backup_there_is_no_upgrade(tmp_path: Path) -> None:
    db = await open_database(f"sqlite:///{tmp_path}/store.db")
    await migrate(db, backup_dir=tmp_path, migrations=[FIRST])
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SetupError, match="cannot be made"):
        await migrate(db, backup_dir=tmp_path / "file", migrations=[FIRST, SECOND])
    assert await db.fetch("SELECT number FROM schema_migrations") == [{"number": 1}]
    await db.close()


async def test_a_failure_names_the_copy_from_before(tmp_path: Path) -> None:
    db = await open_database(f"sqlite:///{tmp_path}/store.db")
    await migrate(db, backup_dir=tmp_path / "backups", migrations=[FIRST])
    with pytest.raises(SetupError, match=r"a copy from before is store-schema1-\S+\.db in /"):
        await migrate(db, backup_dir=tmp_path / "backups", migrations=[FIRST, BROKEN])
    await db.close()


async def test_rows_that_would_refer_to_nothing_stop_an_upgrade(empty: Database, tmp_path: Path) -> None:
    child = Migration(
        2,
        "0002_child.sql",
        """CREATE TABLE child (n BIGINT REFERENCES one (n) DEFERRABLE INITIALLY DEFERRED);
        INSERT INTO child VALUES (9);""",
    )
    await migrate(empty, backup_dir=tmp_path, migrations=[FIRST])
    with pytest.raises(SetupError, match="still has schema 1"):
        await migrate(empty, backup_dir=tmp_path, migrations=[FIRST, child])
    assert await migrate(empty, backup_dir=tmp_path, migrations=[FIRST, SECOND]) == [2]


MIGRATOR = """
import asyncio, sys
from pathlib import Path
from clawloops.store.db import open_database
from clawloops.store.migrate import migrate
from tests.store.test_migrate import FIRST, SLOW

async def main() -> None:
    db = await open_database(sys.argv[1])
    print("go", flush=True)
    await migrate(db, backup_dir=Path(sys.argv[2]), migrations=[FIRST, SLOW])
    print("done", flush=True)

asyncio.run(main())
"""
SLOW = Migration(
    2,
    "0002_slow.sql",
    """DROP TABLE one;
    CREATE TABLE many (n BIGINT);
    INSERT INTO many WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000000)
        SELECT count(*) FROM n;""",
)


@pytest.mark.parametrize("after_s", [0.02, 0.2])
async def test_kill_9_in_the_middle_of_an_upgrade_leaves_the_old_schema(
    empty: Database, url: str, tmp_path: Path, after_s: float
) -> None:
    await migrate(empty, backup_dir=tmp_path / "backups", migrations=[FIRST])
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", MIGRATOR, url, str(tmp_path / "backups"), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    assert await program.stdout.readline() == b"go\n"
    await asyncio.sleep(after_s)
    program.kill()
    assert b"done" not in (await program.communicate())[0]
    assert await empty.fetch("SELECT n FROM one") == [{"n": 1}]
    if empty.dialect == "sqlite":
        assert await empty.fetch("PRAGMA integrity_check") == [{"integrity_check": "ok"}]
    assert await migrate(empty, backup_dir=tmp_path / "backups", migrations=[FIRST, SECOND]) == [2]
    assert await empty.fetch("SELECT n FROM two") == [{"n": 1}]


def test_statements_end_at_semicolons_outside_quotes_and_comments() -> None:
    text = """-- one; two
    CREATE TABLE t (a TEXT DEFAULT 'x;--''y', "b;c" BYTEA); -- and; this
    INSERT INTO t VALUES ('BYTEA', 1 - 2); ;
    CREATE TABLE s (seq BIGSERIAL PRIMARY KEY)"""
    assert Migration(1, "n", text).statements("sqlite") == [
        """CREATE TABLE t (a TEXT DEFAULT 'x;--''y', "b;c" BLOB)""",
        "INSERT INTO t VALUES ('BYTEA', 1 - 2)",
        "CREATE TABLE s (seq INTEGER PRIMARY KEY AUTOINCREMENT)",
    ]
    assert Migration(1, "n", text).statements("postgresql")[2] == "CREATE TABLE s (seq BIGSERIAL PRIMARY KEY)"


def test_numbers_without_a_gap_or_nothing(tmp_path: Path) -> None:
    for name in ("0001_a.sql", "0003_c.sql"):
        (tmp_path / name).write_text("SELECT 1;")
    with pytest.raises(SetupError, match="not numbered"):
        shipped(tmp_path)
    assert [each.name for each in shipped()] == sorted(
        each.name for each in resources.files("clawloops.store.migrations").iterdir() if each.name.endswith(".sql")
    )


async def test_both_databases_have_the_same_tables_and_columns(db: Database) -> None:
    for table in (
        "users",
        "sessions",
        "invitations",
        "runtimes",
        "backends",
        "credentials",
        "models",
        "usage",
        "audit",
    ):
        assert await db.fetch(f"SELECT * FROM {table}") == []
    assert await meta.get(db, "none") is None


@pytest.mark.parametrize(("members", "has_model", "is_over"), [(2, True, True), (1, True, False), (2, False, False)])
async def test_a_box_that_was_set_up_before_is_not_led_through_its_first_steps(
    empty: Database, tmp_path: Path, members: int, has_model: bool, is_over: bool
) -> None:
    await migrate(empty, backup_dir=tmp_path, migrations=[each for each in shipped() if each.number < 15])
    for number in range(members):
        await users.add(empty, rows.user(f"login{number}"))
    if has_model:
        await models.add(empty, Model("m1", "tiny", (), 4096, 1024, True, 1))
    await migrate(empty, backup_dir=tmp_path)
    assert (await meta.get(empty, "first-run") is not None) is is_over

"""Bring a database to this program's schema, or leave it exactly as it was.

A migration is a file `NNNN_name.sql`, numbered from 0001 without a gap, written in PostgreSQL's spelling, and never
changed once it was released: each is applied once, in a transaction of its own, and its SHA-256 is kept. For SQLite two
type names are translated (`BYTEA`, and `BIGSERIAL PRIMARY KEY`). Statements end with `;` (not inside quotes or
comments); there are no triggers and no function bodies.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.abc import Traversable
from pathlib import Path

from clawloops.clock import now_ms
from clawloops.errors import SetupError
from clawloops.model.backup import Reason
from clawloops.store import backups
from clawloops.store.db import Database
from clawloops.store.postgres import Postgres

_LOCK = 0x636C6177  # any fixed number; PostgreSQL's lock against two programs that migrate at once
_PIECE = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|;|[^'\";-]+|.", re.DOTALL)
_SQLITE_TYPES = (
    (re.compile(r"\bBYTEA\b"), "BLOB"),
    (re.compile(r"\bBIGSERIAL PRIMARY KEY\b"), "INTEGER PRIMARY KEY AUTOINCREMENT"),
)


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    def statements(self, dialect: str) -> list[str]:
        """Its statements, without comments, in the spelling of the dialect."""
        found = [""]
        for piece in _PIECE.findall(self.text):
            if piece == ";":
                found.append("")
            elif not piece.startswith("--"):
                found[-1] += piece if dialect != "sqlite" else _for_sqlite(piece)
        return [statement.strip() for statement in found if statement.strip()]


def _for_sqlite(piece: str) -> str:
    if piece[0] in "'\"":
        return piece
    for name, spelling in _SQLITE_TYPES:
        piece = name.sub(spelling, piece)
    return piece


def shipped(folder: Traversable | None = None) -> list[Migration]:
    """The migrations of this program (or of another folder). Raises SetupError when their numbers have a gap."""
    source = folder or resources.files("clawloops.store.migrations")
    names = sorted(each.name for each in source.iterdir() if each.name.endswith(".sql"))
    found = [Migration(int(name[:4]), name, (source / name).read_text("utf-8")) for name in names]
    if [each.number for each in found] != list(range(1, len(found) + 1)):
        raise SetupError(f"the migrations {names} are not numbered 1, 2, 3 …; install ClawLoops again")
    return found


async def migrate(db: Database, *, backup_dir: Path | None, migrations: Sequence[Migration] | None = None) -> list[int]:
    """Apply what is missing and return the numbers applied; a SQLite file that holds a schema is backed up before.

    Raises SetupError: the schema is newer than this program, a migration was changed after its release, the backup
    cannot be written, or a migration fails (the schema then stays at the one before, and the text names the backup).
    """
    known = shipped() if migrations is None else list(migrations)
    if not isinstance(db, Postgres):
        return await _migrate(db, known, backup_dir)
    limit, db.timeout_s = db.timeout_s, None  # a large table takes its time
    try:
        return await _migrate(db, known, backup_dir)
    finally:
        db.timeout_s = limit


async def migrated_at(db: Database) -> int:
    """When the store was made, Unix ms."""
    row = await db.fetchrow("SELECT min(applied_at) AS at FROM schema_migrations")
    return int(row["at"] or 0) if row else 0


async def _migrate(db: Database, known: Sequence[Migration], backup_dir: Path | None) -> list[int]:
    await _prepare(db)
    missing = known[await _check(db, known) :]
    if not missing:
        return []
    schema, kept = missing[0].number - 1, None
    if backup_dir is not None and schema > 0:  # an empty file needs none
        kept = await backups.make(db, backup_dir, Reason.UPGRADE, now=now_ms(), schema=schema)
    text = f"; a copy from before is {kept.name} in {backup_dir}" if kept else ""
    return [each.number for each in missing if await _apply(db, each, text)]


async def _prepare(db: Database) -> None:
    async with db.transaction():
        await _lock(db)
        await db.execute(
            """CREATE TABLE IF NOT EXISTS schema_migrations (
            number BIGINT PRIMARY KEY, name TEXT NOT NULL, sha256 TEXT NOT NULL, applied_at BIGINT NOT NULL)"""
        )


async def _lock(db: Database) -> None:
    if db.dialect == "postgresql":  # SQLite's BEGIN IMMEDIATE is such a lock already
        await db.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)


async def _check(db: Database, known: Sequence[Migration]) -> int:
    """The number of migrations that are in."""
    applied = await db.fetch("SELECT number, name, sha256 FROM schema_migrations ORDER BY number")
    if len(applied) > len(known):
        raise SetupError(
            f"the database has schema {applied[-1]['number']}, and this ClawLoops knows only up to {len(known)}: "
            "a newer version was here; run that version again, or restore the backup that it made before its upgrade"
        )
    for row, migration in zip(applied, known, strict=False):
        if (row["number"], row["sha256"]) != (migration.number, migration.sha256):
            raise SetupError(
                f"migration {migration.name} is not the one that this database was made with ({row['name']}); "
                "install the version that made it, or start with an empty database"
            )
    return len(applied)


async def _check_references(db: Database) -> None:
    if db.dialect == "sqlite" and (broken := await db.fetch("PRAGMA foreign_key_check")):
        raise SetupError(f"{len(broken)} rows of {broken[0]['table']} would refer to nothing")


async def _apply(db: Database, migration: Migration, kept: str) -> bool:
    """Whether it was applied here (False: another program did so meanwhile). `kept`: what an error says of a backup."""
    try:
        async with db.transaction():
            await _lock(db)
            if await db.fetch("SELECT number FROM schema_migrations WHERE number = $1", migration.number):
                return False
            for statement in migration.statements(db.dialect):
                await db.execute(statement)
            await _check_references(db)
            await db.execute(
                "INSERT INTO schema_migrations (number, name, sha256, applied_at) VALUES ($1, $2, $3, $4)",
                migration.number,
                migration.name,
                migration.sha256,
                now_ms(),
            )
    except Exception as error:
        raise SetupError(
            f"migration {migration.name} failed and was undone ({error}); the database still has schema "
            f"{migration.number - 1}: run the ClawLoops version before, and report this{kept}"
        ) from error
    return True

"""`clawloops usage` through `main`: the numbers of the page, for people, programs and spreadsheets."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from clawloops.__main__ import main
from clawloops.model.account import Role, User
from clawloops.model.report import DAY_MS
from clawloops.store import usage, users
from clawloops.store.db import open_database
from clawloops.store.migrate import migrate
from clawloops.web.api.me import Used
from tests.store import rows
from tests.store.test_seal import write_key

NOVEMBER = int(datetime(2025, 11, 30, 23, 59, tzinfo=UTC).timestamp() * 1000)
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    monkeypatch.setenv("CLAWLOOPS_INSTALL_ID", "0a1b2c3d")
    monkeypatch.setenv("CLAWLOOPS_DATA", str(tmp_path))
    (tmp_path / "keys").mkdir()
    write_key(tmp_path / "keys" / "master.key", "ab" * 32)

    async def fill() -> None:
        db = await open_database(f"sqlite:///{tmp_path}/clawloops.db")
        await migrate(db, backup_dir=tmp_path / "backups")
        for login in ("mia", "ben"):
            await users.add(db, User(f"u-{login}", login, login.title(), Role.MEMBER, "-", None, 1))
        calls = [
            rows.call(id="1" * 32, at=NOVEMBER, user_id="u-mia", model="small", cost=1_500_000, held_ms=61_000),
            rows.call(id="2" * 32, at=NOVEMBER - DAY_MS, user_id="u-ben", model="=1+1", status=502),
            rows.call(id="3" * 32, at=NOVEMBER - DAY_MS, user_id="u-gone", model="small"),
            rows.call(id="4" * 32, at=NOVEMBER + DAY_MS, user_id="u-mia", model="small"),
        ]
        await usage.settle(db, calls, log="test", offset=1)
        await db.close()

    asyncio.run(fill())

    def run(*words: str) -> tuple[int, str, str]:
        status = main(["usage", "--month", "2025-11", *words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_a_month_is_told_by_day_model_and_member(say: Say) -> None:
    whole = json.loads(say("--json")[1])
    assert (whole["month"], whole["used"]["calls"], whole["used"]["failed"]) == ("2025-11", 3, 1)
    assert whole["used"]["cost_micro_usd"] == 1_500_000 and whole["saved_micro_usd"] is None
    days = json.loads(say("--by", "day", "--json")[1])
    assert [(each["day"], each["used"]["calls"]) for each in days] == [("2025-11-29", 2), ("2025-11-30", 1)]
    models = json.loads(say("--by", "model", "--json")[1])
    assert [(each["model"], each["used"]["calls"]) for each in models] == [("=1+1", 1), ("small", 2)]
    members = json.loads(say("--by", "member", "--json")[1])
    assert {each["member_id"] for each in members} == {"u-mia", "u-ben", "u-gone"}
    assert [each["used"]["calls"] for each in json.loads(say("--by", "day", "--of", "mia", "--json")[1])] == [1]
    text = say("--by", "member")[1]
    assert text.splitlines()[0].split() == ["MEMBER", "TOKENS", "CALLS", "FAILED", "COST", "GPU", "SECONDS"]
    assert "mia     120     1      0       $1.50  61" in text and "u-gone" in text


def test_a_spreadsheet_gets_the_same_numbers_and_no_formula(say: Say) -> None:
    lines = list(csv.DictReader(io.StringIO(say("--by", "model", "--csv")[1])))
    assert list(lines[0]) == ["model", *Used.__struct_fields__]
    assert [(each["model"], each["calls"]) for each in lines] == [("'=1+1", "1"), ("small", "2")]
    (month,) = csv.DictReader(io.StringIO(say("--csv")[1]))
    assert (month["month"], month["gpu_ms"]) == ("2025-11", "61000")


def test_what_is_no_month_or_nobody_is_told(say: Say) -> None:
    for words, why in (
        (("--month", "2025-13"), "'2025-13' is no month"),
        (("--of", "eve"), "no member 'eve'"),
        (("--of", "mia", "--by", "member"), "leave one of the two out"),
    ):
        status, out, err = say(*words)
        assert (status, out) == (1, "") and why in err and err.startswith("clawloops usage: ")
    with pytest.raises(SystemExit) as left:
        say("--json", "--csv")
    assert left.value.code == 2

"""A log as its reader sees it: whatever was printed is one line of plain text, and no secret stands in it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from clawloops.control import hooks, logs, tokens
from clawloops.control.inspections import Inspections
from clawloops.control.logs import MOST_SHOWN, Logs
from clawloops.control.masking import Mask
from clawloops.errors import Conflict, NotFound, Unavailable
from clawloops.log import redactor
from clawloops.model import key
from clawloops.model.decoy import Decoy, DecoyKeys
from clawloops.model.logs import MARGIN, MOST_CHARACTERS, Line, holds, plain, words_in
from clawloops.model.runtime import Runtime, Want
from clawloops.runtimes import openclaw
from clawloops.runtimes.client import EngineFailed
from clawloops.runtimes.files import folder
from clawloops.runtimes.logs import Entry, entries_in
from clawloops.runtimes.spec import Install
from tests.canaries import spelled
from tests.web.printed import Printed, no_secrets

RUNTIME = Runtime("r" + "a" * 16, "u1", "maya", Want.RUNNING, "10.201.0.8/29", 1, None, 1, 0, "", 0, 1)
OTHER = replace(RUNTIME, id="r" + "b" * 16, owner="u2", slug="ken")


@pytest.fixture
def printed() -> Printed:
    return Printed()


@pytest.fixture
def kept(printed: Printed, tmp_path: Path) -> Logs:
    return Logs(cast(Inspections, None), printed.read, data=str(tmp_path), secrets_of=no_secrets)


async def texts(kept: Logs, words: str = "") -> list[str]:
    return [each.text for each in (await kept.last(RUNTIME, words_in(words))).lines]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),  # the page escapes it
        (b"\x1b[31mred\x1b[0m \x1b[2K\x1b[1;1Hdone\r", "red done"),
        (b"\x1b]0;a title\x07here \x1b]8;;http://x\x1b\\link", "here link"),
        (b"\x1b]0;never ends", ""),
        (b"\x1b[", "\\x1b["),
        (b"10%\r100%", "10%\\r100%"),
        (b"a\tb\x00c\x7f", "a    b\\x00c\\x7f"),
        (b"\xff\xfe caf\xc3\xa9", "\ufffd\ufffd café"),
        ("safe \u202egnp.exe\u2066 \u200b\u2028".encode(), "safe \\u202egnp.exe\\u2066 \\u200b\\u2028"),
        ("全角\u3000空格\u00a0".encode(), "全角 空格 "),
        ("🦞".encode(), "🦞"),
        (b"\x85\x0b\x0c\x1c".decode("latin-1").encode(), "\\x85\\x0b\\x0c\\x1c"),
    ],
)
def test_whatever_is_printed_becomes_one_line_of_plain_text(raw: bytes, text: str) -> None:
    assert plain(raw) == text
    assert len(text.splitlines()) <= 1


def test_a_line_as_long_as_the_engine_keeps_costs_little_whatever_stands_in_it() -> None:
    for filling in (b"\x00", b"\x1b", b"\x1b]", b"\x1b[", b"\xff", b"\x1b]\x1b", b"\xe2\x80\xae"):
        began = time.process_time()
        text = plain(filling * (16_384 // len(filling)))
        assert time.process_time() - began < 0.1
        assert len(text) <= 10 * (MOST_CHARACTERS + MARGIN)


def test_words_are_found_in_any_order_and_case() -> None:
    line = Line("2026-11-28T09:30:00.000000001Z", False, "Gateway REFUSED the Straße")
    assert holds(line, words_in("refused gateway")) and holds(line, words_in("STRASSE")) and holds(line, ())
    assert not holds(line, words_in("gateway opened"))


@pytest.mark.attacks(19)
async def test_no_secret_of_the_workspace_or_the_box_stands_in_its_log(
    kept: Logs, printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redactor, "_secrets", set())
    token, provider, hook = secrets.token_urlsafe(32), "sk-0123/4567+89ab=cdef", secrets.token_bytes(32)
    folder(str(tmp_path), RUNTIME.id).write_token(token)
    runtime = replace(RUNTIME, hook_hash=hook)
    install = Install(install_id="0" * 8, data=str(tmp_path), edge="edge", image="clawloops/openclaw:1")
    folder(str(tmp_path), RUNTIME.id).write_config(openclaw.text(openclaw.render(runtime, install, [])))
    redactor.add(provider)
    minted = [prefix + secrets.token_urlsafe(32) for prefix in (key.PREFIX, tokens.PREFIX, hooks.PREFIX)]
    minted.append(DecoyKeys(bytes(32)).make(Decoy(RUNTIME.id, 1, 0)))
    spellings = [
        *(text for how, text in spelled(token).items() if how != "reversed"),
        *(text for how, text in spelled(provider).items() if how != "reversed"),
        hook.hex(), *minted,
    ]  # fmt: skip
    for each in spellings:
        printed.say(RUNTIME.id, f"before {each} after", f"\x1b[31m{each[:9]}\x1b[0m{each[9:]}", "x" * 1985 + each)
    lines = [line.text for line in (await kept.last(runtime)).lines]
    assert len(lines) == 3 * len(spellings)
    for each, plainly, coloured, cut in zip(spellings, lines[::3], lines[1::3], lines[2::3], strict=True):
        assert each not in plainly + coloured and plainly.startswith("before ") and plainly.endswith(" after")
        assert each[:12] not in cut, each
    assert not (await kept.last(runtime, words_in(token))).lines
    async with kept.file(runtime) as file:
        written = file.read().decode()
    assert not [each for each in spellings if each in written]


def test_of_openclaws_configuration_what_opens_something_is_a_secret_and_short_words_are_not_masked() -> None:
    config = {
        "hooks": {"path": "/hooks", "token": "of-the-webhook"},
        "mcp": {
            "servers": {
                "one": {
                    "url": "https://mcp.example/mcp?key=of-an-address&v=1",
                    "headers": {"Authorization": "Bearer of-a-server"},
                },
                "token": {"command": "npx", "args": ["a-package"], "env": {"KEY": "of-a-tool", "LEVEL": "debug"}},
            }
        },
        "channels": {"telegram": {"botToken": "123456:of-a-bot", "proxy": "http://clawloops-gateway:3128"}},
    }
    found = list(openclaw.secrets_in(config))
    assert found == [
        "of-the-webhook",
        "of-an-address",
        "1",
        "Bearer",
        "of-a-server",
        "of-a-tool",
        "debug",
        "123456:of-a-bot",
    ]
    assert Mask(found).over("debug: Bearer of-a-server, npx a-package") == "debug: Bearer [secret], npx a-package"


async def test_a_giant_line_is_cut_and_says_so(kept: Logs, printed: Printed) -> None:
    printed.say(RUNTIME.id, "x" * 16_000, "short")
    long, short = await texts(kept)
    assert long == "x" * MOST_CHARACTERS + "…" and short == "short"


async def test_what_is_shown_is_bounded_in_lines_and_characters(kept: Logs, printed: Printed) -> None:
    printed.say(RUNTIME.id, *(f"line {number}" for number in range(3000)))
    shown = await texts(kept)
    assert len(shown) == MOST_SHOWN and shown[-1] == "line 2999"
    assert await texts(kept, "line 12") == [f"line {each}" for each in range(3000) if "12" in str(each)][-MOST_SHOWN:]
    printed.say(RUNTIME.id, *("x" * 16_000 for _ in range(600)))
    assert 100 < len(shown := await texts(kept)) < 150 and sum(map(len, shown)) <= 1 << 18


async def test_who_follows_gets_each_line_once_and_begins_anew_with_another_container(
    kept: Logs, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FRESH_MS", 0)
    printed.say(RUNTIME.id, "one", "same", "same")
    follower, finder = kept.follow(RUNTIME), kept.follow(RUNTIME, words_in("two"))
    assert [each.text for each in (await follower.begin()).lines] == ["one", "same", "same"]
    assert (await finder.begin()).lines == ()
    assert await follower.more() == ()
    printed.say(RUNTIME.id, "same", "two")
    assert [each.text for each in await follower.more() or ()] == ["same", "two"]
    assert [each.text for each in await finder.more() or ()] == ["two"]
    assert await follower.more() == await finder.more() == ()
    printed.say(RUNTIME.id, "new", container="c2")
    assert await follower.more() is None and await finder.more() is None
    assert [each.text for each in (await follower.begin()).lines] == ["new"]
    del printed.containers[RUNTIME.id]
    with pytest.raises(NotFound, match="Start the workspace"):
        await follower.more()
    printed.say(RUNTIME.id, "after", container="c3")
    assert await follower.more() is None


async def test_a_line_that_comes_while_words_are_looked_for_is_told_once(
    kept: Logs, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FRESH_MS", 0)
    printed.say(RUNTIME.id, "two of old")
    finder = kept.follow(RUNTIME, words_in("two"))
    last = kept.last

    async def meanwhile(*given: object) -> logs.Extract:
        printed.say(RUNTIME.id, "two of now")
        return await last(RUNTIME, words_in("two"))

    monkeypatch.setattr(kept, "last", meanwhile)
    assert [each.text for each in (await finder.begin()).lines] == ["two of old", "two of now"]
    assert await finder.more() == ()


async def test_who_prints_faster_than_is_shown_is_shown_the_end_anew(
    kept: Logs, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FRESH_MS", 0)
    printed.say(RUNTIME.id, "one")
    follower = kept.follow(RUNTIME)
    await follower.begin()
    printed.say(RUNTIME.id, *(f"{number}" for number in range(3000)))
    assert await follower.more() is None
    assert [each.text for each in (await follower.begin()).lines][-1] == "2999"


async def test_all_who_follow_one_log_share_a_read(kept: Logs, printed: Printed) -> None:
    printed.say(RUNTIME.id, "one")
    followers = [kept.follow(RUNTIME) for _ in range(50)]
    found = await asyncio.gather(*(each.begin() for each in followers))
    assert printed.reads == 1 and {each.lines[0].text for each in found} == {"one"}
    del followers, found
    assert not kept._tails


async def test_one_log_is_read_at_a_time_and_nobody_waits_for_ever(
    kept: Logs, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_WAIT_S", 0.1)
    printed.say(RUNTIME.id, "one")
    printed.say(OTHER.id, "two")
    goes_on, begun = asyncio.Event(), asyncio.Event()
    read = kept._read

    async def slow(runtime_id: str, *given: object) -> object:
        begun.set()
        await goes_on.wait()
        return await read(runtime_id, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(kept, "_read", slow)
    first = asyncio.create_task(kept.last(RUNTIME))
    await begun.wait()
    first.cancel()  # its read goes on all the same, and so keeps the lane
    with pytest.raises(Unavailable, match="reads other logs"):
        await kept.last(OTHER)
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    monkeypatch.setattr(logs, "_WAIT_S", 5)
    assert [each.text for each in (await kept.last(OTHER)).lines] == ["two"]


async def test_after_a_read_logs_rest_for_as_long_as_it_took(
    kept: Logs, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed.say(RUNTIME.id, "one")
    read = kept._read

    async def slow(*given: object) -> object:
        await asyncio.sleep(0.2)
        return await read(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(kept, "_read", slow)
    began = time.monotonic()
    await kept.last(RUNTIME)
    assert time.monotonic() - began < 0.35, "who was answered does not wait for that"
    await kept.last(RUNTIME)
    assert time.monotonic() - began > 0.58


async def test_a_log_is_taken_away_by_one_at_a_time_and_leaves_no_file(
    kept: Logs, printed: Printed, tmp_path: Path
) -> None:
    printed.say(RUNTIME.id, "one", "<two>")
    printed.say(RUNTIME.id, "three", is_error=True)
    async with kept.file(RUNTIME) as file:
        with pytest.raises(Conflict, match="downloaded already"):
            async with kept.file(RUNTIME):
                pass
        assert file.read().decode().splitlines() == [
            "2026-11-28T09:30:00.000000001Z out one",
            "2026-11-28T09:30:01.000000001Z out <two>",
            "2026-11-28T09:30:02.000000001Z err three",
        ]
        assert list(tmp_path.iterdir()) == []
    async with kept.file(RUNTIME):
        pass
    printed.fails = OSError(28, "No space left on device")
    with pytest.raises(Unavailable, match="No space left on device"):
        async with kept.file(RUNTIME):
            pass


def frame(stream: int, text: bytes) -> bytes:
    data = b"2026-11-28T09:30:00.000000001Z " + text
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4) + data


def read(*chunks: bytes) -> list[Entry]:
    return list(entries_in(chunks))


def test_frames_are_read_wherever_the_answer_is_cut_and_split_lines_are_one() -> None:
    answer = frame(1, b"one\n") + frame(1, b"a" * 9) + frame(2, b"err\n") + frame(1, b"b" * 9) + frame(1, b"c\n")
    answer += frame(1, b"\n") + frame(2, b"[8 bytes \x01\x00\x00\x00\x00\x00\x00\x04 of a head]\n")
    expected = [(False, b"one", False), (False, b"a" * 9, True), (True, b"err", False), (False, b"", False)]
    for size in (1, 7, 8, 9, 31, len(answer)):
        entries = read(*(answer[at : at + size] for at in range(0, len(answer), size)))
        assert [(each.is_error, each.text, each.is_cut) for each in entries][:4] == expected
        assert len(entries) == 5 and {each.at for each in entries} == {"2026-11-28T09:30:00.000000001Z"}
    assert read(answer[:-1])[-1].text == b""  # one that breaks off is no entry


def endless() -> Iterator[bytes]:
    while True:
        yield frame(1, b"x" * 16_000 + b"\n") * 4


def test_an_answer_without_end_and_a_frame_without_end_are_given_up() -> None:
    with pytest.raises(EngineFailed, match="longer than"):
        for _ in entries_in(endless()):
            pass
    with pytest.raises(EngineFailed, match="cannot be read"):
        read(b"\x01\x00\x00\x00\xff\xff\xff\xff", *[bytes(1 << 16)] * 20)

"""A seal opens only with its own master key and only in its own row; the key file is never guessed, fixed or remade."""

from __future__ import annotations

import secrets
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clawloops.errors import SealBroken, SetupError
from clawloops.store import backends, credentials, meta
from clawloops.store.db import Database
from clawloops.store.seal import Sealed, Sealer, check_sentinel, load_master
from tests.store import rows

MASTER = bytes(range(32))
SEALER = Sealer(MASTER, install_id="0123abcd")
PLACE = {"table": "credentials", "provider": "anthropic", "owner": "b-local"}
BLOBS = ("wrapped", "nonce", "ciphertext")

# Short texts over few letters: they make neighbours such as ("ab", "c") and ("a", "bc").
name = st.text(alphabet="ab\0|é", max_size=4)
version = st.integers(min_value=1, max_value=2**40)
place = st.tuples(name, name, name, name, version)


def seal(secret: str, where: tuple[str, str, str, str, int], sealer: Sealer = SEALER) -> Sealed:
    table, credential_id, provider, owner, number = where
    return sealer.seal(secret, table=table, credential_id=credential_id, provider=provider, owner=owner, version=number)


def opened(sealed: Sealed, where: tuple[str, str, str, str, int], sealer: Sealer = SEALER) -> str:
    """Open a row as if it stood at `where`: the row's own columns say its id and version."""
    table, credential_id, provider, owner, number = where
    moved = replace(sealed, credential_id=credential_id, version=number)
    return sealer.open(moved, table=table, provider=provider, owner=owner)


@given(secret=st.text(), where=place)
def test_what_was_sealed_opens_in_its_place(secret: str, where: tuple[str, str, str, str, int]) -> None:
    sealed = seal(secret, where)
    assert opened(sealed, where) == secret
    assert secret.encode() not in sealed.ciphertext or len(secret.encode()) < 4


@given(where=place, other=place)
def test_a_row_put_in_another_place_does_not_open(
    where: tuple[str, str, str, str, int], other: tuple[str, str, str, str, int]
) -> None:
    assume(where != other)
    with pytest.raises(SealBroken):
        opened(seal("sk-canary", where), other)


@given(where=place, part=st.integers(0, 4), value=name, number=version)
def test_one_changed_part_of_the_place_is_enough(
    where: tuple[str, str, str, str, int], part: int, value: str, number: int
) -> None:
    other = list(where)
    other[part] = number if part == 4 else value
    assume(tuple(other) != where)
    with pytest.raises(SealBroken):
        opened(seal("sk-canary", where), tuple(other))  # type: ignore[arg-type]


@given(blob=st.sampled_from(BLOBS), bit=st.integers(min_value=0))
def test_one_flipped_bit_anywhere_does_not_open(blob: str, bit: int) -> None:
    where = ("credentials", "c1", "openai", "b1", 1)
    sealed = seal("sk-canary", where)
    changed = bytearray(getattr(sealed, blob))
    bit %= len(changed) * 8
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        opened(replace(sealed, **{blob: bytes(changed)}), where)  # type: ignore[arg-type]


@given(blob=st.sampled_from(BLOBS), length=st.integers(0, 80), extra=st.binary(min_size=1, max_size=20))
def test_a_cut_or_lengthened_part_does_not_open(blob: str, length: int, extra: bytes) -> None:
    where = ("credentials", "c1", "openai", "b1", 1)
    sealed = seal("sk-canary", where)
    whole: bytes = getattr(sealed, blob)
    for changed in (whole[: min(length, len(whole) - 1)], whole + extra, extra):
        with pytest.raises(SealBroken):
            opened(replace(sealed, **{blob: changed}), where)  # type: ignore[arg-type]


@given(taken=st.sets(st.sampled_from(BLOBS), min_size=1, max_size=2), where=place, other=place)
def test_parts_of_two_rows_joined_do_not_open(
    taken: set[str], where: tuple[str, str, str, str, int], other: tuple[str, str, str, str, int]
) -> None:
    for second in (other, where):  # even of two seals of the same place
        one, two = seal("sk-one", where), seal("sk-two", second)
        joined = replace(one, **{blob: getattr(two, blob) for blob in taken})
        with pytest.raises(SealBroken):
            opened(joined, where)


def test_another_master_key_another_install_or_another_key_id_does_not_open() -> None:
    where = ("credentials", "c1", "openai", "b1", 1)
    sealed = seal("sk-canary", where)
    stranger = Sealer(secrets.token_bytes(32), install_id="0123abcd")
    with pytest.raises(SealBroken, match="another master key"):
        opened(sealed, where, stranger)
    with pytest.raises(SealBroken):
        opened(replace(sealed, key_id=stranger.key_id), where, stranger)
    with pytest.raises(SealBroken):
        opened(sealed, where, Sealer(MASTER, install_id="0123abce"))


def test_sealing_twice_shares_no_bytes_and_tells_nothing_of_the_master_key() -> None:
    one, two = (SEALER.seal("sk-canary", credential_id="c1", version=1, **PLACE) for _ in range(2))
    assert {getattr(one, blob) for blob in BLOBS}.isdisjoint({getattr(two, blob) for blob in BLOBS})
    everything = b"".join(str(getattr(one, each.name)).encode() for each in fields(one)) + one.wrapped + one.ciphertext
    assert MASTER not in everything
    assert MASTER.hex().encode() not in everything
    assert b"sk-canary" not in everything
    assert "sk-canary" not in repr(SEALER) + repr(one)


def test_a_seal_made_by_the_first_release_still_opens() -> None:
    sealed = Sealed(
        credential_id="c1",
        version=3,
        key_id="57d7c9a28c8c54d0",
        wrapped=bytes.fromhex(
            "0d83de5bc93e6b6b8bf842381e1e7949f6a5c0cd67d14c6176f7d02f23d5e66b3f64f584a16b6c037339d96fb48958a0b77115656da2ed9038870fce"
        ),
        nonce=bytes.fromhex("db3634b08e441d4f16140e85"),
        ciphertext=bytes.fromhex("d40544a0dd7b7438ac951a21687b156fd1eb18927bd1351b12428b5836d21474"),
    )
    assert SEALER.open(sealed, **PLACE) == "sk-first-release"


async def test_rows_swapped_in_the_database_do_not_open(db: Database) -> None:
    for backend in ("one", "two"):
        await backends.add(db, rows.backend(backend))
        sealed = SEALER.seal(
            f"sk-{backend}",
            table=credentials.TABLE,
            credential_id=f"c-{backend}",
            provider="",
            owner=backend,
            version=1,
        )
        await credentials.add(db, rows.credential(f"b-{backend}", sealed))
    await db.execute("UPDATE credentials SET ciphertext = (SELECT ciphertext FROM credentials WHERE id = 'c-one')")
    stored = {each.backend_id: each.sealed for each in await credentials.all(db)}
    assert SEALER.open(stored["b-one"], table=credentials.TABLE, provider="", owner="one") == "sk-one"
    with pytest.raises(SealBroken):
        SEALER.open(stored["b-two"], table=credentials.TABLE, provider="", owner="two")


async def test_the_first_boot_sets_the_sentinel_and_later_boots_leave_it(db: Database) -> None:
    await check_sentinel(db, SEALER)
    first = await meta.get(db, "seal:sentinel")
    await check_sentinel(db, SEALER)
    assert await meta.get(db, "seal:sentinel") == first is not None


@pytest.mark.parametrize(
    "wrong", [Sealer(bytes(32), install_id="0123abcd"), Sealer(MASTER, install_id="ffffffff")], ids=["key", "install"]
)
async def test_a_wrong_master_key_refuses_to_start_and_changes_nothing(db: Database, wrong: Sealer) -> None:
    await check_sentinel(db, SEALER)
    before = await meta.get(db, "seal:sentinel")
    with pytest.raises(SetupError, match="put back the key file"):
        await check_sentinel(db, wrong)
    assert await meta.get(db, "seal:sentinel") == before
    await check_sentinel(db, SEALER)


async def test_credentials_without_a_sentinel_refuse_to_start(db: Database) -> None:
    await backends.add(db, rows.backend())
    sealed = SEALER.seal("sk", credential_id="c1", version=1, **PLACE)
    await credentials.add(db, rows.credential("b-local", sealed))
    with pytest.raises(SetupError, match="restore a backup"):
        await check_sentinel(db, SEALER)
    assert await meta.get(db, "seal:sentinel") is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "not json", '{"credential_id": 1}', "null"])
async def test_a_damaged_sentinel_refuses_to_start(db: Database, text: str) -> None:
    await meta.put(db, "seal:sentinel", text)
    with pytest.raises(SetupError):
        await check_sentinel(db, SEALER)
    assert await meta.get(db, "seal:sentinel") == text


def write_key(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", [MASTER.hex(), MASTER.hex() + "\n", MASTER.hex().upper()])
def test_a_good_key_file_is_read(tmp_path: Path, text: str) -> None:
    assert load_master(write_key(tmp_path / "master.key", text)) == MASTER
    assert load_master(write_key(tmp_path / "strict.key", text, 0o400)) == MASTER


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o666, 0o700, 0o601])
def test_a_key_file_that_others_may_use_is_refused_with_the_command_to_run(tmp_path: Path, mode: int) -> None:
    path = write_key(tmp_path / "master.key", MASTER.hex(), mode)
    with pytest.raises(SetupError, match=f"run: chmod 600 {path}"):
        load_master(path)
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("text", ["", "00", MASTER.hex()[:-1], MASTER.hex() + "0", "g" * 64, "é" * 64, "0" * 5000])
def test_a_key_file_of_wrong_length_is_refused_and_its_content_not_shown(tmp_path: Path, text: str) -> None:
    path = write_key(tmp_path / "master.key", text)
    with pytest.raises(SetupError, match="64 hex digits; restore it from your backup") as refusal:
        load_master(path)
    assert len(text) < 3 or text not in str(refusal.value)
    assert path.read_text() == text


def test_a_missing_key_file_a_folder_or_a_link_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="missing; restore it"):
        load_master(tmp_path / "none.key")
    assert not (tmp_path / "none.key").exists()
    with pytest.raises(SetupError, match="not a regular file"):
        load_master(tmp_path)
    (tmp_path / "link.key").symlink_to(write_key(tmp_path / "master.key", MASTER.hex()))
    with pytest.raises(SetupError, match="cannot be read"):
        load_master(tmp_path / "link.key")


def test_a_sealer_takes_no_short_key() -> None:
    with pytest.raises(SetupError, match="32 bytes"):
        Sealer(b"short", install_id="0123abcd")

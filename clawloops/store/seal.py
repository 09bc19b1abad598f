"""Sealed secrets: they open only with this install's master key, and only in the very row they were sealed for.

A fresh 256-bit data key per version encrypts the secret with AES-256-GCM; the data key itself is wrapped with
AES-256-GCM under KEK = HKDF-SHA256(master key). Both carry additional data in which each part has its length before it:
purpose, install, table, credential, provider, owner, version, key id. So a row copied over another one, an older
version put back under a new number, or parts of two rows joined do not open.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from clawloops.errors import SealBroken, SetupError
from clawloops.store import meta
from clawloops.store.db import Database

MASTER_BYTES = 32
_NONCE_BYTES = 12  # the size that AES-GCM is made for (NIST SP 800-38D, 5.2.1.1)
_SENTINEL = "seal:sentinel"
_SENTINEL_TEXT = "clawloops sentinel"
_SENTINEL_PLACE = {"table": "meta", "provider": "", "owner": _SENTINEL}


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret at rest. `wrapped`: the nonce of the wrapping (12 bytes), then the wrapped data key and its tag (48)."""

    credential_id: str
    version: int  # from 1, rises with each replacement under the same id
    key_id: str  # tells master keys apart without telling anything about them; 16 hex
    wrapped: bytes
    nonce: bytes
    ciphertext: bytes  # with its 16-byte tag


class Sealer:
    """Seals and opens with one master key (32 bytes) of one install."""

    def __init__(self, master: bytes, *, install_id: str) -> None:
        if len(master) != MASTER_BYTES:
            raise SetupError(f"the master key must have {MASTER_BYTES} bytes; restore its file from a backup")
        self._kek = AESGCM(_derive(master, b"clawloops seal kek v1", 32))
        self.key_id = _derive(master, b"clawloops seal key id v1", 8).hex()
        self._install_id = install_id

    def seal(self, secret: str, *, table: str, credential_id: str, provider: str, owner: str, version: int) -> Sealed:
        """Seal for one row. Sealing the same secret twice gives different bytes."""
        place = (self._install_id, table, credential_id, provider, owner, str(version), self.key_id)
        data_key = AESGCM.generate_key(256)
        wrap_nonce, nonce = secrets.token_bytes(_NONCE_BYTES), secrets.token_bytes(_NONCE_BYTES)
        return Sealed(
            credential_id=credential_id,
            version=version,
            key_id=self.key_id,
            wrapped=wrap_nonce + self._kek.encrypt(wrap_nonce, data_key, _bound("data key", *place)),
            nonce=nonce,
            ciphertext=AESGCM(data_key).encrypt(nonce, secret.encode(), _bound("secret", *place)),
        )

    def open(self, sealed: Sealed, *, table: str, provider: str, owner: str) -> str:
        """The secret. Raises SealBroken unless the row is, bit for bit, what was sealed here with this master key."""
        if sealed.key_id != self.key_id:
            raise SealBroken(
                "this key was sealed with another master key; restore that master key, or enter the key again"
            )
        place = (self._install_id, table, sealed.credential_id, provider, owner, str(sealed.version), sealed.key_id)
        wrap_nonce, wrapped = sealed.wrapped[:_NONCE_BYTES], sealed.wrapped[_NONCE_BYTES:]
        try:
            data_key = self._kek.decrypt(wrap_nonce, wrapped, _bound("data key", *place))
            return AESGCM(data_key).decrypt(sealed.nonce, sealed.ciphertext, _bound("secret", *place)).decode()
        except (InvalidTag, ValueError):  # ValueError: a nonce, tag or key of impossible length
            raise SealBroken("a sealed key was changed or swapped in the database; enter the key again") from None


def _derive(master: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=None, info=info).derive(master)


def _bound(*parts: str) -> bytes:
    """Each part with its length in 4 bytes before it, so that no two lists of parts give the same bytes."""
    encoded = [part.encode() for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def load_master(path: Path) -> bytes:
    """Read the master key: a regular file, mode 0600 (or stricter), holding 64 hex digits. It is never made here.

    Raises SetupError that says what to repair; the file's content is in no message.
    """
    lost = "restore it from your backup: no other key opens the sealed provider keys (a first ./install.sh makes it)"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise SetupError(f"the master key {path} is missing; {lost}") from error
    except OSError as error:
        raise SetupError(f"the master key {path} cannot be read ({error.strerror}); {lost}") from error
    try:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise SetupError(f"the master key {path} is not a regular file; {lost}")
        if state.st_mode & 0o177:
            mode = stat.S_IMODE(state.st_mode)
            raise SetupError(f"the master key {path} has mode {mode:04o}, others may use it; run: chmod 600 {path}")
        text = os.read(handle, 1024).decode("ascii", "replace").strip()
    finally:
        os.close(handle)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise SetupError(f"the master key {path} does not hold 64 hex digits; {lost}")
    return bytes.fromhex(text)


async def check_sentinel(db: Database, sealer: Sealer) -> None:
    """Prove that the master key is this store's own; the first boot of an empty store sets the proof.

    Raises SetupError when the key is another one, or when sealed credentials lie in a store without a sentinel.
    """
    async with db.transaction():
        text = await meta.get(db, _SENTINEL)
        if text is None:
            if await db.fetch(
                """SELECT id FROM credentials UNION SELECT user_id FROM authenticators UNION SELECT id FROM issuers
                UNION SELECT id FROM connections LIMIT 1"""
            ):
                raise SetupError(
                    "the store holds sealed keys but lost the proof of its master key; restore a backup of it"
                )
            await set_sentinel(db, sealer)
            return
    try:
        sealed = from_json(text)
        right = sealer.open(sealed, **_SENTINEL_PLACE) == _SENTINEL_TEXT
    except (SealBroken, ValueError, KeyError, TypeError) as error:
        raise SetupError(
            "the master key does not belong to this database; put back the key file (and CLAWLOOPS_INSTALL_ID) "
            "that this database was made with: a new key opens none of its sealed keys"
        ) from error
    if not right:
        raise SetupError("the sentinel in the database was changed; restore a backup of the database")


async def set_sentinel(db: Database, sealer: Sealer) -> None:
    """From now on the store belongs to this master key."""
    sealed = sealer.seal(_SENTINEL_TEXT, credential_id="sentinel", version=1, **_SENTINEL_PLACE)
    await meta.put(db, _SENTINEL, to_json(sealed))


async def is_own(db: Database, sealer: Sealer) -> bool:
    """Whether the store belongs to this master key already. A store without a sentinel belongs to none."""
    if await meta.get(db, _SENTINEL) is None:
        return False
    try:
        await check_sentinel(db, sealer)
    except SetupError:
        return False
    return True


def to_json(sealed: Sealed) -> str:
    """As `meta` keeps one."""
    return json.dumps({name: part.hex() if isinstance(part, bytes) else part for name, part in asdict(sealed).items()})


def from_json(text: str) -> Sealed:
    """Raises ValueError, KeyError or TypeError."""
    parts: Mapping[str, Any] = json.loads(text)
    hexed = {name: bytes.fromhex(parts[name]) for name in ("wrapped", "nonce", "ciphertext")}
    return Sealed(str(parts["credential_id"]), int(parts["version"]), str(parts["key_id"]), **hexed)

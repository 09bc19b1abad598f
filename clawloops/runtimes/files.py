"""The two folders that a runtime sees read-only, config and secrets. A reader finds the old file or the new one.

DATA/runtimes/<id>/          0700 ours: nobody else on the host gets in
  config/openclaw.json       0755 / 0640
  secret/model-token         0700 / 0600, uid 1000
  secret/operator.env        the decoy (decoy.py), as the token is
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from clawloops.runtimes import decoy, openclaw
from clawloops.runtimes.openclaw import TOKEN_FILE

UID = GID = 1000  # the user inside the runtime
CONFIG_FILE = "openclaw.json"


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of one runtime. All methods block for a moment on the disk; call them in a thread."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config" / CONFIG_FILE

    @property
    def token(self) -> Path:
        return self.path / "secret" / TOKEN_FILE

    @property
    def decoy(self) -> Path:
        return self.path / "secret" / decoy.FILE

    def config_is(self, text: str) -> bool:
        """Whether the file on disk is exactly this."""
        return _holds(self.config, text)

    def decoy_is(self, text: str) -> bool:
        """Whether the file on disk is exactly this."""
        return _holds(self.decoy, text)

    def token_is(self, token_hash: bytes | None) -> bool:
        """Whether the token on disk is the one whose SHA-256 is stored."""
        try:
            return hashlib.sha256(self.token.read_bytes()).digest() == token_hash
        except OSError:
            return False

    def secrets(self) -> list[str]:
        """What stands in its files and opens something; nothing of one that is not there."""
        found: list[str] = []
        with contextlib.suppress(OSError):
            found.append(self.token.read_text().strip())
        with contextlib.suppress(OSError, ValueError):
            found.extend(openclaw.secrets_in(json.loads(self.config.read_text())))
        return found

    def write_config(self, text: str) -> None:
        """OSError when the disk is full or DATA is not ours."""
        self._folders()
        _replace(self.config, text.encode(), 0o640)

    def write_decoy(self, text: str) -> None:
        """OSError when the disk is full or DATA is not ours."""
        self._folders()
        _replace(self.decoy, text.encode(), 0o600)

    def write_token(self, token: str) -> None:
        """OSError when the disk is full or DATA is not ours."""
        self._folders()
        _replace(self.token, token.encode(), 0o600)

    def remove(self) -> None:
        """Nothing here is worth keeping once the runtime is gone: the workspace is in its volume."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _folders(self) -> None:
        for folder, mode, owner in (
            (self.path, 0o700, None),
            (self.config.parent, 0o755, None),
            (self.token.parent, 0o700, UID),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)
            if owner is not None:
                os.chown(folder, owner, owner)


def folder(data: str, runtime_id: str) -> Folder:
    return Folder(Path(data) / "runtimes" / runtime_id)


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_text() == text
    except OSError:
        return False


def _replace(path: Path, content: bytes, mode: int) -> None:
    """Temp file in the same folder, synced, then renamed: a crash leaves the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            os.fchown(file.fileno(), UID, GID)
            os.fchmod(file.fileno(), mode)
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

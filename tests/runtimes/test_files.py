"""Files of a runtime: the right owner and mode, replaced as a whole, told apart by content."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from clawloops.runtimes import files

root = pytest.mark.skipif(os.geteuid() != 0, reason="files are given to uid 1000, which only root can do")


def _mode(path: Path) -> tuple[str, int]:
    seen = path.stat()
    return oct(seen.st_mode & 0o7777), seen.st_uid


@root
def test_config_and_token_can_be_read_by_the_runtime_and_by_nobody_else(tmp_path: Path) -> None:
    folder = files.folder(str(tmp_path), "r1")
    folder.write_config("{}\n")
    folder.write_token("t0ken")
    folder.write_decoy("KEY=1\n")
    assert _mode(folder.path) == ("0o700", os.geteuid())
    assert _mode(folder.config) == ("0o640", 1000)
    assert _mode(folder.config.parent)[0] == "0o755"
    assert _mode(folder.token) == ("0o600", 1000)
    assert _mode(folder.decoy) == ("0o600", 1000) and folder.decoy.parent == folder.token.parent
    assert _mode(folder.token.parent) == ("0o700", 1000)
    assert folder.config_is("{}\n")
    assert folder.decoy_is("KEY=1\n") and not folder.decoy_is("KEY=2\n")
    assert folder.token_is(hashlib.sha256(b"t0ken").digest())
    folder.remove()
    assert not folder.config_is("{}\n")
    assert not folder.decoy_is("KEY=1\n")
    assert not folder.token_is(None)


@root
def test_a_file_is_replaced_and_never_written_in_place(tmp_path: Path) -> None:
    folder = files.folder(str(tmp_path), "r1")
    folder.write_config("old")
    with folder.config.open() as reader:
        folder.write_config("new")
        assert reader.read() == "old"
    assert folder.config.read_text() == "new"
    assert [each.name for each in folder.config.parent.iterdir()] == ["openclaw.json"]


@root
def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files.folder(str(tmp_path), "r1")
    folder.write_config("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folder.write_config("new")
    assert folder.config.read_text() == "old"
    assert len(list(folder.config.parent.iterdir())) == 1

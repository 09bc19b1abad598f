"""The file through which Traefik is handed a certificate, and the line that says why there is no better one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from clawloops.certificates.pair import Pair, read_pair
from clawloops.errors import SetupError


class Handed:
    """`folder`: the one that Traefik watches. Chain and key are in one file, so that both change at once."""

    def __init__(self, folder: Path, problem: Path) -> None:
        self._file = folder / "certificate.yml"
        self._problem = problem

    def pair(self) -> Pair | None:
        """What Traefik serves now; None where that is nothing of ours, or damaged."""
        try:
            store: Any = json.loads(self._file.read_text())
            kept = store["tls"]["stores"]["default"]["defaultCertificate"]
            return read_pair(kept["certFile"].encode(), kept["keyFile"].encode())
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SetupError):
            return None

    def hand(self, pair: Pair) -> None:
        """Serve this from now on. JSON is YAML, and Traefik takes a PEM text in the place of a file's name."""
        certificate = {"certFile": pair.chain, "keyFile": pair.key}
        store = {"tls": {"stores": {"default": {"defaultCertificate": certificate}}}}
        write(self._file, json.dumps(store), mode=0o600)

    def tell(self, problem: str) -> bool:
        """Why the certificate is not what it should be, "" where it is. Returns whether that is news."""
        known = self._problem.read_text() if self._problem.exists() else ""
        if known == problem:
            return False
        if problem:
            write(self._problem, problem, mode=0o644)
        else:
            self._problem.unlink()
        return True


def write(path: Path, text: str, *, mode: int) -> None:
    """A whole new file in the place of the old one, or nothing. Raises OSError."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.chmod(mode)  # whatever the umask
    new.replace(path)

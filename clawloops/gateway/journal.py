"""The append-only log of settled calls: a record is in the kernel's hands before the answer's last byte goes out.

A record is one line, `<length> <json>\n`, written by one `os.write`: `kill -9` loses none that was appended. A line
torn by a full disk or a power cut does not match its length, and readers skip it.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import orjson

from clawloops.model.usage import Call, Tokens

_log = logging.getLogger(__name__)
_READ = 4 * 1024 * 1024  # bytes read at once; bounds what a fold after a long outage holds in memory


class Journal:
    """One file. One process writes it; any number may read."""

    def __init__(self, path: Path) -> None:
        """Opens or creates `path` with mode 0600. Raises OSError."""
        self.path = path
        self.name = path.name  # names the log in `store.usage`
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        size = os.fstat(self._fd).st_size
        self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"

    def append(self, call: Call) -> None:
        """Append one record. Raises OSError when it is not wholly written (disk full): the call is then not settled."""
        line = _line(call)
        if self._torn:  # end the torn line first, or this record would be read as part of it
            line = b"\n" + line
        self._torn = True
        written = os.write(self._fd, line)
        if written < len(line):
            raise OSError(f"{self.path}: only {written} of {len(line)} bytes were written; free disk space")
        self._torn = False

    def read_from(self, offset: int) -> tuple[list[Call], int]:
        """The records after `offset` (bytes), at most 4 MiB of them, and the offset after the last whole line.

        Call again until the offset no longer grows. A file shorter than `offset` was replaced: it is read from its
        start, which is harmless because a call's id counts once.
        """
        if os.fstat(self._fd).st_size < offset:
            offset = 0
        data = os.pread(self._fd, _READ, offset)
        end = data.rfind(b"\n") + 1
        calls = [call for line in data[:end].split(b"\n") if (call := self._parse(line)) is not None]
        return calls, offset + end

    def close(self) -> None:
        os.close(self._fd)

    def _parse(self, line: bytes) -> Call | None:
        if not line:
            return None
        length, _, text = line.partition(b" ")
        try:
            if int(length) == len(text):
                return _call(orjson.loads(text))
        except (ValueError, KeyError, TypeError):
            pass
        _log.warning("%s: skipped a torn record of %d bytes", self.path, len(line))
        return None


def _line(call: Call) -> bytes:
    text = orjson.dumps(
        {
            "id": call.id,
            "at": call.at,
            "user": call.user_id,
            "runtime": call.runtime_id,
            "model": call.model,
            "backend": call.backend_id,
            "input": call.tokens.input,
            "output": call.tokens.output,
            "cached": call.tokens.cached,
            "reasoning": call.tokens.reasoning,
            "status": call.status,
            "first_ms": call.first_ms,
            "total_ms": call.total_ms,
            "key": call.key_id,
            "queue_ms": call.queue_ms,
            "held_ms": call.held_ms,
        }
    )
    return b"%d %s\n" % (len(text), text)


def _call(record: dict[str, object]) -> Call:
    def number(name: str) -> int:
        value = record[name]
        if not isinstance(value, int):
            raise TypeError(name)
        return value

    return Call(
        id=str(record["id"]),
        at=number("at"),
        user_id=str(record["user"]),
        runtime_id=str(record["runtime"]),
        model=str(record["model"]),
        backend_id=str(record["backend"]),
        tokens=Tokens(number("input"), number("output"), number("cached"), number("reasoning")),
        status=number("status"),
        first_ms=None if record["first_ms"] is None else number("first_ms"),
        total_ms=number("total_ms"),
        key_id=str(record.get("key", "")),  # older records have none, nor the two below
        queue_ms=number("queue_ms") if "queue_ms" in record else 0,
        held_ms=number("held_ms") if "held_ms" in record else 0,
    )

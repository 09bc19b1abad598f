"""The append-only log of calls: opened, how far they have come, and settled before the answer's last byte goes out.

A record is one line, `<length> <json>\n`, written by one `os.write`: `kill -9` loses none that was appended. A line
torn by a full disk or a power cut does not match its length, and readers skip it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import orjson

from clawloops.model.usage import Call, Opened, Progress, Tokens

Record = Opened | Progress | Call

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

    def append(self, record: Record) -> None:
        """Append one record. Raises OSError when it is not wholly written (disk full): then it counts for nothing."""
        line = _line(record)
        if self._torn:  # end the torn line first, or this record would be read as part of it
            line = b"\n" + line
        self._torn = True
        _write_whole(self._fd, line, self.path)
        self._torn = False

    def read_from(self, offset: int) -> tuple[list[tuple[int, Record]], int]:
        """The records after `offset` (bytes) with where each begins, at most 4 MiB, and the offset after the last one.

        Call again until the offset no longer grows. A file shorter than `offset` was replaced: it is read from its
        start, which is harmless because a call's id counts once.
        """
        if os.fstat(self._fd).st_size < offset:
            offset = 0
        data = os.pread(self._fd, _READ, offset)
        end = data.rfind(b"\n") + 1
        records = []
        for line in data[:end].split(b"\n")[:-1]:
            if (record := self._parse(line)) is not None:
                records.append((offset, record))
            offset += len(line) + 1
        return records, offset

    @property
    def size(self) -> int:
        """Bytes."""
        return os.fstat(self._fd).st_size

    def begin_anew(self, kept: Sequence[Record], since: int) -> tuple[list[int], int]:
        """Keep these records and what was appended after `since` (bytes), and nothing else, in a new file.

        Returns where each of them begins now, and where they end. Raises OSError: then the old file stays as it is.
        """
        lines = [_line(record) for record in kept]
        rest = os.pread(self._fd, self.size - since, since)
        new = self.path.with_suffix(".new")
        new.unlink(missing_ok=True)
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            _write_whole(fd, b"".join(lines) + rest, new)
            new.replace(self.path)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd = fd
        ends = list(accumulate(map(len, lines), initial=0))
        return ends[:-1], ends[-1]

    def close(self) -> None:
        os.close(self._fd)

    def _parse(self, line: bytes) -> Record | None:
        if not line:
            return None
        length, _, text = line.partition(b" ")
        try:
            if int(length) == len(text):
                return _record(orjson.loads(text))
        except (ValueError, KeyError, TypeError):
            pass
        _log.warning("%s: skipped a torn record of %d bytes", self.path, len(line))
        return None


def _write_whole(fd: int, data: bytes, path: Path) -> None:
    written = os.write(fd, data)
    if written < len(data):
        raise OSError(f"{path}: only {written} of {len(data)} bytes were written; free disk space")


def _line(record: Record) -> bytes:
    match record:
        case Call():
            fields = _settled(record)
        case Opened():
            fields = {
                **{"open": record.id, "at": record.at, "user": record.user_id, "runtime": record.runtime_id},
                **{"key": record.key_id, "model": record.model, "backend": record.backend_id, "input": record.input},
                **{"cost": record.cost, "images": record.images, "background": record.is_background},
            }
        case Progress():
            fields = {
                **{"more": record.id, "backend": record.backend_id, "output": record.output, "cost": record.cost},
                **{"total_ms": record.total_ms, "held_ms": record.held_ms, "mwh": record.energy_mwh},
            }
    text = orjson.dumps(fields)
    return b"%d %s\n" % (len(text), text)


def _settled(call: Call) -> dict[str, object]:
    return {
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
        "cost": call.cost,
        "mwh": call.energy_mwh,
        "images": call.images,
        "background": call.is_background,
    }


def _record(fields: dict[str, object]) -> Record:
    def number(name: str, *, default: int | None = None) -> int:
        value = fields[name] if default is None else fields.get(name, default)
        if not isinstance(value, int):
            raise TypeError(name)
        return value

    def text(name: str, *, default: str | None = None) -> str:
        return str(fields[name] if default is None else fields.get(name, default))

    if "open" in fields:
        return Opened(
            id=text("open"),
            at=number("at"),
            user_id=text("user"),
            runtime_id=text("runtime"),
            key_id=text("key"),
            model=text("model"),
            backend_id=text("backend"),
            input=number("input"),
            cost=number("cost"),
            images=number("images"),
            is_background=bool(fields["background"]),
        )
    if "more" in fields:
        return Progress(
            id=text("more"),
            backend_id=text("backend"),
            output=number("output"),
            cost=number("cost"),
            total_ms=number("total_ms"),
            held_ms=number("held_ms"),
            energy_mwh=number("mwh"),
        )
    return Call(
        id=text("id"),
        at=number("at"),
        user_id=text("user"),
        runtime_id=text("runtime"),
        model=text("model"),
        backend_id=text("backend"),
        tokens=Tokens(number("input"), number("output"), number("cached"), number("reasoning")),
        status=number("status"),
        first_ms=None if fields["first_ms"] is None else number("first_ms"),
        total_ms=number("total_ms"),
        key_id=text("key", default=""),  # older records have none, nor what follows
        queue_ms=number("queue_ms", default=0),
        held_ms=number("held_ms", default=0),
        cost=number("cost", default=0),
        energy_mwh=number("mwh", default=0),
        images=number("images", default=0),
        is_background=bool(fields.get("background", False)),
    )

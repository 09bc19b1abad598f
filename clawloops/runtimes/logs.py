"""What a runtime's container has printed, as the Engine keeps it: its last entries, read once and within bounds.

The Engine keeps the log with the container, over stops, crashes and starts, up to what `spec.walls` says (`LogConfig`).
Stream and frames are those of the Docker Engine API 1.41, `POST /containers/{id}/attach`, "Stream format".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import docker.errors
import requests

from clawloops.runtimes import names
from clawloops.runtimes.calls import MOST_LOG_ENTRIES
from clawloops.runtimes.client import Api, Engine, EngineFailed, EngineMissing

T = TypeVar("T")

_HEAD = 8  # bytes: the stream (2 is standard error), three zeros, the length of what follows
_LONGEST = 1 << 20  # bytes of a frame; the Engine splits lines after 16 KiB
_MOST_BYTES = 64 << 20  # of one answer; a log that is as large as it may be has half of that
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Entry:
    """A line, of which at most the first 16 KiB are here."""

    at: str  # RFC 3339 in UTC with nanoseconds
    is_error: bool
    text: bytes  # without its end
    is_cut: bool  # it went on


class Reads(Protocol):
    """Reads a runtime's log: see `reader`."""

    async def __call__(self, runtime_id: str, entries: int, work: Callable[[str, Iterator[Entry]], T]) -> T: ...


def reader(engine: Engine, install_id: str) -> Reads:
    """`read(runtime_id, entries, work)` runs `work` in a thread, with the container's id and its last entries.

    Oldest first; `entries`: how many at most. Raises EngineMissing where there is no container, and as `Engine.call`.
    """

    async def read(runtime_id: str, entries: int, work: Callable[[str, Iterator[Entry]], T]) -> T:
        def run(api: Api) -> T:
            container_id = _find(api, install_id, runtime_id)
            with contextlib.closing(_answer(api, container_id, min(entries, MOST_LOG_ENTRIES))) as answer:
                return work(container_id, entries_in(answer.iter_content(_CHUNK)))

        return await engine.call(run)

    return read


def entries_in(chunks: Iterable[bytes]) -> Iterator[Entry]:
    """The entries in an answer. Of a line that the Engine had to split, the first part. Raises EngineFailed."""
    going_on: set[int] = set()  # streams in which a line has not ended yet
    for stream, data in _frames(chunks):
        has_begun, ends = stream in going_on, data.endswith(b"\n")
        (going_on.discard if ends else going_on.add)(stream)
        if not has_begun:
            stamp, _, text = data.partition(b" ")
            yield Entry(stamp.decode("ascii", "replace"), stream == 2, text.removesuffix(b"\n"), not ends)


def _frames(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    held, read = bytearray(), 0
    for chunk in chunks:
        held += chunk
        read += len(chunk)
        if read > _MOST_BYTES:
            raise EngineFailed("the log is longer than the Engine was told to keep: an administrator looks at it")
        while len(held) >= _HEAD and len(held) >= (end := _HEAD + int.from_bytes(held[4:_HEAD])):
            yield held[0], bytes(held[_HEAD:end])
            del held[:end]
        if len(held) > _LONGEST:
            raise EngineFailed("the log cannot be read: an administrator looks at it (docker logs)")


def _find(api: Api, install_id: str, runtime_id: str) -> str:
    told = api.inspect_container(names.container(install_id, runtime_id))
    if not names.labels(install_id, runtime_id).items() <= (told["Config"].get("Labels") or {}).items():
        raise EngineMissing("the container of this name is none of ours", status=404)
    return str(told["Id"])


def _answer(api: Api, container_id: str, entries: int) -> requests.Response:
    """Not by the SDK's `logs`, which takes the time limit off the connection and tells no stream from another."""
    asked: dict[str, Any] = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": 0, "tail": entries}
    url = f"{api.base_url}/v{api.api_version}/containers/{container_id}/logs"
    answer = api.get(url, params=asked, stream=True, timeout=api.timeout)
    try:
        answer.raise_for_status()
    except requests.HTTPError as error:
        with answer:
            docker.errors.create_api_error_from_http_exception(error)  # raises it
    return answer

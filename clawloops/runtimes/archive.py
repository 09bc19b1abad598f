"""Copies of workspaces, streamed through the Engine with a few MiB in memory: volume to volume, to a file, from a file.

A volume is filled once: a copy that was cut leaves one that nobody may use, and the next try takes a fresh number.
What is read must not be written to meanwhile (its runtime is paused or stopped): the copy is then as after a power cut.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker.errors
import requests

from clawloops.errors import EngineRefused, Unavailable
from clawloops.runtimes import names, parcel, tape, volumes
from clawloops.runtimes.carriers import carrier
from clawloops.runtimes.client import Api, Engine
from clawloops.runtimes.parcel import Keep, Written
from clawloops.runtimes.spec import HOME

Slot = tuple[str, int]
"""A runtime id and the number of one of its volumes."""

Watch = Callable[[int], None]
"""Told how many bytes have passed, in the thread of the copy; what it raises ends the copy."""

_DF_TRIES = 120  # half a second apart
# Its parent, and not the workspace: unpacked at /, no link of a workspace points out of what is unpacked, which the
# Engine would refuse (measured: `../../../etc/hosts` in /home/node fails there, and passes here).
_ABOVE = "/home"


class Cut(Exception):
    """The copy was cancelled."""


@dataclass(frozen=True, slots=True)
class Archive:
    """What every copy of one install needs. `image` is any that is on the host; it is never run."""

    engine: Engine
    install_id: str
    image: str

    async def measure(self, source: Slot) -> int:
        """The size of its files in bytes, those that are mostly holes at their full length; 0 when Docker cannot tell.

        Docker walks through all that it keeps for this, which takes long on a full host. EngineMissing: no source.
        """

        def work(api: Api, stop: threading.Event) -> int:
            volumes.need(api, self.install_id, *source)
            return _size(api, names.volume(self.install_id, *source))

        return await self.engine.apart(work)

    async def copy(self, source: Slot, target: Slot, *, keep: Keep | None = None, watch: Watch | None = None) -> int:
        """Fill a volume that is not there yet from one that is; returns the bytes that passed.

        `keep`: which paths come along, relative to the workspace. EngineMissing: no source; EngineRefused 409: the
        target is there; 507: no room; EngineUnavailable: the Engine went away.
        """

        def work(api: Api, stop: threading.Event) -> int:
            passed = _Passed()
            with self._source(api, source) as chunks:
                volumes.make_new(api, self.install_id, *target)
                data = tape.whole(_counted(chunks, stop, watch, passed))
                if keep is not None:
                    data = tape.rewritten(tape.Chunks(data), _only(keep))
                self._fill(api, target, data)
            return passed.bytes

        return await self.engine.apart(work)

    async def write_file(
        self, source: Slot, path: Path, manifest: Mapping[str, Any], *, keep: Keep, watch: Watch | None = None
    ) -> Written:
        """The workspace as one file (see `parcel.py`), there only when it is whole. Unavailable: no room for it."""

        def work(api: Api, stop: threading.Event) -> Written:
            with self._source(api, source) as chunks:
                try:
                    return parcel.write(path, _counted(chunks, stop, watch), manifest, keep=keep)
                except tape.Damaged as error:
                    raise _unreadable(error) from error
                except requests.RequestException:  # an OSError, too, and none of our disk
                    raise
                except OSError as error:
                    raise Unavailable(f"the workspace file could not be written ({error.strerror})") from error

        return await self.engine.apart(work)

    async def read_file(
        self, path: Path, target: Slot, *, keep: Keep, most_bytes: int, watch: Watch | None = None
    ) -> int:
        """Fill a volume that is not there yet from a file of a person. BadInput when there is anything wrong in it."""

        def work(api: Api, stop: threading.Event) -> int:
            parcel.manifest(path)
            volumes.make_new(api, self.install_id, *target)
            passed = _Passed()
            data = parcel.read(path, keep=keep, most_bytes=most_bytes)
            self._fill(api, target, _counted(data, stop, watch, passed))
            return passed.bytes

        return await self.engine.apart(work)

    @contextlib.contextmanager
    def _source(self, api: Api, source: Slot) -> Iterator[Iterator[bytes]]:
        volumes.need(api, self.install_id, *source)
        with (
            carrier(api, self.install_id, self.image, *source, writes=False) as container,
            _opened(api, container) as chunks,
        ):
            yield chunks

    def _fill(self, api: Api, target: Slot, data: Iterator[bytes]) -> None:
        with carrier(api, self.install_id, self.image, *target, writes=True) as container:
            try:
                api.put_archive(container, "/", data)
            except tape.Damaged as error:
                raise _unreadable(error) from error
            except docker.errors.APIError as error:
                raise _refusal(error) from error


def _size(api: Api, volume: str) -> int:
    url = f"{api.base_url}/v{api.api_version}/system/df"
    for _ in range(_DF_TRIES):
        with api.get(
            url, params={"type": "volume"}, timeout=api.timeout
        ) as answer:  # older Engines tell of all else too
            if answer.status_code == 500 and b"already running" in answer.content:
                time.sleep(0.5)  # for another copy, or for a person who asks how full the disk is
                continue
            answer.raise_for_status()
            rows = answer.json().get("Volumes") or []
        sizes = (int((row.get("UsageData") or {}).get("Size", 0)) for row in rows if row["Name"] == volume)
        return max(0, next(sizes, 0))
    return 0


@contextlib.contextmanager
def _opened(api: Api, container: str) -> Iterator[Iterator[bytes]]:
    """The tar of what a carrier mounts. Not by `api.get_archive`: one that is read only in part could not be closed,
    and the Engine holds on to the carrier until it is.
    """
    url = f"{api.base_url}/v{api.api_version}/containers/{container}/archive"
    with contextlib.closing(api.get(url, params={"path": _ABOVE}, stream=True, timeout=api.timeout)) as answer:
        try:
            answer.raise_for_status()
        except requests.HTTPError as error:
            docker.errors.create_api_error_from_http_exception(error)
        yield answer.iter_content(tape.PIECE)


class _Passed:
    bytes = 0


def _counted(
    chunks: Iterator[bytes], stop: threading.Event, watch: Watch | None, passed: _Passed | None = None
) -> Iterator[bytes]:
    passed = passed or _Passed()
    for chunk in chunks:
        if stop.is_set():
            raise Cut
        passed.bytes += len(chunk)
        if watch is not None:
            watch(passed.bytes)
        yield chunk


def _only(keep: Keep) -> tape.Change:
    root = f"{HOME.lstrip('/')}/"

    def change(member: Any) -> Any:
        paths = [member.name, member.linkname] if member.islnk() else [member.name]
        kept = all(keep(path[len(root) :]) for path in paths if path.startswith(root))
        return member if kept else None

    return change


def _refusal(error: docker.errors.APIError) -> EngineRefused:
    """Also of a 5xx: an Engine that read the whole request and says no means this copy, not itself."""
    text = str(error.explanation or error).strip()
    if "no space left on device" in text:
        return EngineRefused("the disk is full; free some space on it, then try again", status=507)
    return EngineRefused(f"the Docker Engine could not unpack the copy: {text}", status=int(error.status_code or 500))


def _unreadable(error: tape.Damaged) -> EngineRefused:
    return EngineRefused(
        f"the workspace could not be read to its end ({error}); try again, and see `journalctl -u docker` on the host",
        status=500,
    )

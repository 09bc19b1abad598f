"""Watches Docker during a whole test: at every instant at most one container per member, in whatever state."""

from __future__ import annotations

import contextlib
import threading
import time
from types import TracebackType
from typing import Any, Self

import docker
import docker.errors
import requests

from clawloops.runtimes import names

EVERY_S = 0.08
_SILENCE = (docker.errors.DockerException, requests.RequestException, OSError, ValueError)


class Watch:
    """Two witnesses: a list twelve times a second, and every create and destroy that Docker tells of."""

    def __init__(self, url: str, install_id: str) -> None:
        self.looks = 0
        self._url = url
        self._label = f"{names.INSTALL}={install_id}"
        self._done = threading.Event()
        self._stream: Any = None
        self._by_hand: set[str] = set()  # names of containers that the test adds against the rule
        self._wrong: list[str] = []
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._list, self._hear)]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._done.set()
        if self._stream is not None:
            with contextlib.suppress(Exception):
                self._stream.close()
        self._threads[0].join(30)

    def allow(self, name: str) -> None:
        """This container is the test's own deed; say so before it is made."""
        self._by_hand.add(name)

    def check(self) -> None:
        assert self.looks, "the watch never saw Docker"
        assert not self._wrong, "\n".join(self._wrong)

    def _list(self) -> None:
        while not self._done.wait(EVERY_S):
            with contextlib.suppress(*_SILENCE), contextlib.closing(docker.APIClient(self._url, timeout=30)) as api:
                while not self._done.wait(EVERY_S):
                    rows = api.containers(all=True, filters={"label": [self._label, names.RUNTIME]})
                    self.looks += 1
                    there: dict[str, list[str]] = {}
                    for row in rows:
                        name = row["Names"][0].lstrip("/") if row["Names"] else row["Id"]
                        if name not in self._by_hand:
                            there.setdefault(row["Labels"][names.RUNTIME], []).append(f"{name} {row['State']}")
                    self._judge(there, "listed")

    def _hear(self) -> None:
        while not self._done.is_set():
            with contextlib.suppress(*_SILENCE), contextlib.closing(docker.APIClient(self._url, timeout=3600)) as api:
                there: dict[str, list[str]] = {}
                self._stream = api.events(
                    decode=True,
                    filters={"type": "container", "event": ["create", "destroy"], "label": [self._label]},
                )
                for event in self._stream:
                    about = event["Actor"]["Attributes"]
                    runtime, name = about.get(names.RUNTIME), about["name"]
                    if runtime is None or name in self._by_hand:
                        continue
                    if event["Action"] == "create":
                        there.setdefault(runtime, []).append(event["Actor"]["ID"])
                    elif event["Actor"]["ID"] in there.get(runtime, []):
                        there[runtime].remove(event["Actor"]["ID"])
                    self._judge(there, "heard of")
            self._done.wait(EVERY_S)

    def _judge(self, there: dict[str, list[str]], how: str) -> None:
        for runtime, all_of_it in there.items():
            if len(all_of_it) > 1:
                self._wrong.append(f"{time.strftime('%H:%M:%S')} {how} {len(all_of_it)} of {runtime}: {all_of_it}")

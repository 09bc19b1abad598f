"""The one door to the Docker Engine: bounded threads, a time limit on every call, typed errors."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import docker
import docker.errors
import requests
from docker.transport import UnixHTTPAdapter

from clawloops.errors import EngineRefused, EngineUnavailable
from clawloops.runtimes import calls

T = TypeVar("T")


TIDY_S = 30  # how long a cancelled piece of work is given to end


class EngineMissing(EngineRefused):
    """The Engine answered 404: the thing named in the call is not there."""


class EngineFailed(EngineUnavailable):
    """The Engine answered 5xx: it is there, and could not do this one thing. Says nothing about containers."""


class EngineFull(EngineFailed):
    """The disk that the Engine keeps its data on is full."""


class Api(docker.APIClient):
    """The SDK's low-level client, held to the table of calls."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        path = urlsplit(request.url or "").path
        if calls.match(request.method or "", path) is None:
            raise EngineRefused(f"{request.method} {path} is not in clawloops/runtimes/calls.py", status=403)
        return super().send(request, *args, **kwargs)


class _OnePool(UnixHTTPAdapter):
    """The SDK's way to the socket, with one pool of connections: its own keeps one for each URL, and drops the oldest.

    With twenty runtimes every call then opened a new connection (measured: a fifth of the CPU time of a call).
    """

    def get_connection(self, url: str | bytes, proxies: Mapping[str, str] | None = None) -> Any:
        return super().get_connection("http+docker://localhost", proxies)


class Engine:
    """Calls run in at most `threads` threads, and each ends within `timeout_s` seconds."""

    def __init__(self, url: str = "unix:///var/run/docker.sock", *, threads: int = 8, timeout_s: int = 20) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="engine")
        self._api: Api | None = None
        self._connecting = threading.Lock()

    async def call(self, work: Callable[[Api], T]) -> T:
        """Run `work(api)` in a thread. Raises EngineUnavailable, EngineMissing (404) or EngineRefused (other 4xx).

        Cancelling does not stop a call that is under way: whoever comes next has to observe again.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, work)

    async def apart(self, work: Callable[[Api, threading.Event], T], *, timeout_s: int = 300) -> T:
        """Run `work(api, stop)` in a thread and on connections of its own, for what takes minutes. Raises as `call`.

        Cancelling sets `stop`, which `work` looks at between two pieces, and waits until it has tidied up.
        `timeout_s`: how long the Engine may be silent.
        """
        stop, done = threading.Event(), Future[T]()
        threading.Thread(
            target=self._run_apart, args=(work, stop, done, timeout_s), name="engine-apart", daemon=True
        ).start()
        waiting = asyncio.wrap_future(done)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            stop.set()
            ended, _ = await asyncio.wait({waiting}, timeout=TIDY_S)
            for each in ended:
                each.exception()  # that it was cut is no news
            raise

    def open(self, *, timeout_s: int | None = None) -> Api:
        """A connection of its own, for a stream that stays open; to be called in a thread. Raises EngineUnavailable."""
        with _translated():
            timeout_s = timeout_s or self._timeout_s
            api = Api(self._url, version="auto", timeout=timeout_s, max_pool_size=self._threads)
            if self._url.startswith("unix://"):
                api.close()  # the connection on which the SDK's own way asked for the version
                socket = self._url.replace("unix://", "http+unix://", 1)
                api.mount("http+docker://", _OnePool(socket, timeout=timeout_s, max_pool_size=self._threads))
            api.trust_env = False  # a proxy of the environment is not for this, and looking for one costs time
            return api

    def close(self, *, wait: bool = False) -> None:
        """Take no more calls. Those under way end by themselves within the time limit; `wait` blocks until then."""
        self._pool.shutdown(wait=wait, cancel_futures=True)

    def _run_apart(
        self, work: Callable[[Api, threading.Event], T], stop: threading.Event, done: Future[T], timeout_s: int
    ) -> None:
        try:
            with contextlib.closing(self.open(timeout_s=timeout_s)) as api, _translated():
                done.set_result(work(api, stop))
        except BaseException as error:  # noqa: BLE001  # it is raised where the result is awaited
            done.set_exception(error)

    def _run(self, work: Callable[[Api], T]) -> T:
        with self._connecting:
            if self._api is None:  # asks the Engine for its API version, so it can fail, and is tried again then
                self._api = self.open()
        with _translated():
            return work(self._api)


@contextmanager
def _translated() -> Iterator[None]:
    """An answer of 5xx is "does not answer": it never means that a container is gone."""
    try:
        yield
    except docker.errors.APIError as error:
        status = int(error.status_code or 500)
        text = str(error.explanation or error).strip()
        if "no space left on device" in text:
            raise EngineFull(
                "the disk that Docker keeps its data on is full; an administrator frees some of it "
                "(`docker system df` shows what is there), and then it goes on by itself"
            ) from error
        if status == 502:  # only ever of the guard: it could not reach the Engine
            raise _unavailable(text) from error
        if status >= 500:
            raise EngineFailed(
                f"the Docker Engine failed ({text}); it is asked again by itself, and `docker info` on the host "
                "shows whether it runs"
            ) from error
        kind = EngineMissing if status == 404 else EngineRefused
        raise kind(f"the Docker Engine refused: {text}", status=status) from error
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise _unavailable(str(error)) from error


def _unavailable(text: str) -> EngineUnavailable:
    return EngineUnavailable(
        f"the Docker Engine does not answer ({text}); it is asked again by itself. On the host, `docker info` shows "
        "whether it runs, and `docker ps` whether the guard before it does"
    )

"""What the control plane asks a live OpenClaw as `clawloops-control`. What a hostile one answers binds only itself.

All of it is `POST /api/v1/admin/rpc` (OpenClaw, docs/plugins/admin-http-rpc.md), tried with 2026.9.6. Nothing here is
asked often: OpenClaw allows 30 suspensions a minute, and every answer is bounded in size and time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
from aiohttp import hdrs

from clawloops.clock import now_ms
from clawloops.errors import Unavailable
from clawloops.orchestrator.answers import Refusal, blockers, own_jobs, payload_of, polling_channels, run_result, words
from clawloops.orchestrator.probe import HEADERS
from clawloops.runtimes.openclaw import CONTROL_USER
from clawloops.runtimes.spec import PORT

log = logging.getLogger(__name__)

MAX_ANSWER = 1024 * 1024
TIMEOUT_S = 5.0
REQUEST_ID = "clawloops"  # of every suspension: prepared again with it, OpenClaw gives the same lease again
CHECK = "clawloops-upgrade-check"
CHECK_DELAY_MS = 5000  # past what OpenClaw does in the moments after it says that it is ready: see `complete`
CHECK_S = 180.0  # a first turn after a boot has to load all of the agent, on a slow box for longer than a minute
LOOK_S = 0.5
_MARGIN_S = 3.0  # between OpenClaw's own time limit for the check and ours, so that it ends before it is cleared away


@dataclass(frozen=True, slots=True)
class Ready:
    """Nothing is going on, and for two minutes nothing begins: no turn, no job. `resume` ends that earlier."""

    lease: str


@dataclass(frozen=True, slots=True)
class Busy:
    blockers: tuple[str, ...]  # for a person: "a turn is running"


@dataclass(frozen=True, slots=True)
class NoAnswer:
    reason: str


@dataclass(frozen=True, slots=True)
class Completed:
    took_ms: int


@dataclass(frozen=True, slots=True)
class NoModel:
    """There is nothing to ask: no model is configured for this runtime."""


@dataclass(frozen=True, slots=True)
class Failed:
    reason: str
    asked: bool = True  # False: it did not get as far as asking a model


def control_session() -> aiohttp.ClientSession:
    """A client for `Control`: keeps no cookie, unpacks nothing, asks no proxy. It must live in the edge's namespace."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=64, force_close=True),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=(hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING),
    )


class Control:
    """The questions. `address` is the runtime's IPv4 address on its own network."""

    def __init__(self, session: aiohttp.ClientSession, port: int = PORT) -> None:
        self._session = session
        self._port = port

    async def prepare(self, address: str) -> Ready | Busy | NoAnswer:
        """Close OpenClaw for new work if it does none now. From Ready on it answers nothing but `resume`: ask first."""
        params = {"requestId": REQUEST_ID, "terminalPolicy": "preserve"}
        try:
            answer = await self._call(address, "gateway.suspend.prepare", params)
        except Unavailable as error:
            return NoAnswer(str(error))
        lease = answer.get("suspensionId")
        if answer.get("status") == "ready" and isinstance(lease, str) and 0 < len(lease) <= 128:
            return Ready(lease)
        if answer.get("status") == "busy":
            return Busy(blockers(answer))
        return NoAnswer("OpenClaw gave an answer about its work that is not understood.")

    async def resume(self, address: str) -> bool:
        """Let it take work again, at once. False: it did not say so; a lease ends by itself after two minutes."""
        try:
            try:
                return await self._resume(address, REQUEST_ID)  # with no lease it agrees to whatever id
            except Refusal:
                ready = await self.prepare(address)  # there is one: this tells its id
                return isinstance(ready, Ready) and await self._resume(address, ready.lease)
        except Unavailable as error:
            log.info("a runtime could not be told to go on: %s", error)
            return False

    async def next_job(self, address: str) -> int | None:
        """Unix ms of the next scheduled job of the member's own. Raises Unavailable: then it must not sleep.

        OpenClaw's upkeep (heartbeat, dreaming, skill review) does not count: it is made up for at the next wake.
        """
        params = {"enabled": "enabled", "sortBy": "nextRunAtMs", "sortDir": "asc", "limit": 100, "compact": True}
        answer = await self._call(address, "cron.list", params)
        return min(own_jobs(answer), default=None)

    async def polling(self, address: str) -> tuple[str, ...]:
        """Channels that fetch or hold a connection themselves, and are deaf while asleep. Raises Unavailable."""
        return polling_channels(await self._call(address, "channels.status", {}))

    async def complete(self, address: str, *, limit_s: float = CHECK_S) -> Completed | NoModel | Failed:
        """One real answer of the default model through all of OpenClaw: a job that runs once, soon, and is removed.

        A turn that falls due while OpenClaw looks for jobs that it missed, a second or two after it says that it is
        ready, is put off by two minutes (`startupDeferredMissedAgentJobDelayMs` of its cron). Hence CHECK_DELAY_MS, and
        a limit that has room for it. `cron.run` is no way around: its run ends with the request that began it.
        OpenClaw itself tries a failing model again and again, so a failure takes `limit_s`. A failed run leaves its
        session behind for a day (OpenClaw removes it); a good one leaves nothing.
        """
        began = time.monotonic()
        try:
            if not (await self._call(address, "models.list", {})).get("models"):
                return NoModel()
            job = await self._add_check(address, limit_s)
        except Unavailable as error:
            return Failed(str(error), asked=False)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + limit_s - (time.monotonic() - began)):
                failure = await self._ended(address, job)
        except TimeoutError:
            failure = f"no answer of the model within {limit_s:.0f} s"
        finally:
            await asyncio.shield(self._remove(address, job))
        return Failed(failure) if failure else Completed(int((time.monotonic() - began) * 1000))

    async def _add_check(self, address: str, limit_s: float) -> str:
        job = {
            "name": CHECK,
            "declarationKey": CHECK,  # one that a cut-off check has left is used again
            "displayName": "Check after an upgrade",
            "enabled": True,
            "schedule": {"kind": "at", "at": _iso(now_ms() + CHECK_DELAY_MS)},
            "sessionTarget": "isolated",
            "wakeMode": "now",
            "deleteAfterRun": False,
            "payload": {
                "kind": "agentTurn",
                "message": "Answer with the one word: ready",
                "timeoutSeconds": max(1, int(limit_s - _MARGIN_S)),
                "lightContext": True,
                "toolsAllow": [],
            },
            "delivery": {"mode": "none"},
        }
        answer = await self._call(address, "cron.add", job)
        made = answer.get("job")
        name = (made if isinstance(made, dict) else answer).get("id")
        if not isinstance(name, str) or not 0 < len(name) <= 128:
            raise Unavailable("OpenClaw did not say which job it has made.")
        return name

    async def _ended(self, address: str, job: str) -> str:
        """Wait for the run's end; "" when it was good."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                result = run_result(await self._call(address, "cron.runs", {"id": job, "limit": 1}))
            except Unavailable as error:  # busy for a moment, or gone: the time limit decides
                log.info("a check goes on: %s", error)
                continue
            if result is not None:
                return result

    async def _remove(self, address: str, job: str) -> None:
        try:
            await self._call(address, "cron.remove", {"id": job})
        except Unavailable as error:
            log.warning("the check after an upgrade stays in a runtime's list of jobs: %s", error)

    async def _resume(self, address: str, lease: str) -> bool:
        answer = await self._call(address, "gateway.suspend.resume", {"suspensionId": lease})
        return answer.get("status") == "running"

    async def _call(self, address: str, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The payload. Raises Unavailable, and Refusal where OpenClaw itself said no."""
        body = orjson.dumps({"method": method, "params": params})
        url = f"http://{address}:{self._port}/api/v1/admin/rpc"
        headers = {
            **HEADERS,
            "X-Clawloops-User": CONTROL_USER,
            "X-OpenClaw-Scopes": "operator.admin",
            hdrs.CONTENT_TYPE: "application/json",
        }
        limit = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with self._session.post(
                url, data=body, headers=headers, timeout=limit, allow_redirects=False
            ) as reply:
                return payload_of(method, await _read(reply))
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            what = words(str(error)) or type(error).__name__
            raise Unavailable(f"OpenClaw did not answer {method}: {what}.") from error


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    parts, total = [], 0
    async for part in reply.content.iter_any():
        total += len(part)
        if total > MAX_ANSWER:
            raise aiohttp.ClientPayloadError("its answer is larger than 1 MB")
        parts.append(part)
    return b"".join(parts)


def _iso(at_ms: int) -> str:
    seconds, ms = divmod(at_ms, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ms:03d}Z"

"""What is posted to a workspace's webhook address: held while the runtime is roused or boots, then delivered.

ForwardAuth does not see these: a caller is known by its token alone, which is checked before anything is woken or
read. OpenClaw knows only the token's hash, so that what a runtime could give away opens nothing.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from clawloops.control.hooks import Hooks
from clawloops.control.throttle import Throttle
from clawloops.errors import TooManyAttempts
from clawloops.model.decoy import Place
from clawloops.model.runtime import Phase, Runtime, Want
from clawloops.web.context import ACTIVITY, BOARD, DECOYS, RUNTIME_PORT, UPSTREAM, WAKER
from clawloops.web.middleware import address_of
from clawloops.web.visit import DOORKEEPER

log = logging.getLogger(__name__)

HOOKS: web.AppKey[Hooks] = web.AppKey("hooks", Hooks)

MAX_BODY = 1024 * 1024
MAX_ANSWER = 1024 * 1024
BODY_S = 30.0
READY_S = 60.0
ANSWER_S = 300.0  # a caller may ask OpenClaw to answer when the turn is over
LOOK_S = 0.5
PER_RUNTIME = 8
IN_ALL = 64

_PATH = re.compile(r"/hooks/[A-Za-z0-9][A-Za-z0-9._~-]*(?:/[A-Za-z0-9._~-]+)*")
_OURS = re.compile(r"x[-_](?:clawloops|openclaw|forwarded|real)[-_].*|forwarded|cookie2?|authorization|host|via")
_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}
    | {"content-length", "expect", "accept-encoding", "content-encoding"}
)
_PASSED = frozenset({"x-real-ip"} | {f"x-forwarded-{each}" for each in ("for", "host", "port", "proto", "server")})
_BACK = frozenset({"content-type", "retry-after", "allow"})


class _Refused(Exception):
    def __init__(self, status: int, text: str, *, retry_after_s: int = 0) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class Waiting:
    """How many requests are held: bounded for each runtime and in all. What was taken is delivered, whoever leaves."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[web.Response]] = set()
        self.throttle = Throttle()

    async def see_through(self, delivery: Coroutine[Any, Any, web.Response]) -> web.Response:
        """Its outcome. A caller who hangs up meanwhile, as services do after ten seconds, ends nothing."""
        task = asyncio.create_task(delivery)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[web.Response]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("a webhook was not delivered: %s", error)

    async def close(self, app: web.Application) -> None:
        """Cut what is under way: the process ends."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @asynccontextmanager
    async def place(self, runtime_id: str) -> AsyncIterator[None]:
        if self._held[runtime_id] >= PER_RUNTIME or self._held.total() >= IN_ALL:
            raise _Refused(503, "Too many requests are waiting for this workspace. Try again later.", retry_after_s=10)
        self._held[runtime_id] += 1
        try:
            yield
        finally:
            self._held[runtime_id] -= 1
            if not self._held[runtime_id]:
                del self._held[runtime_id]


WAITING: web.AppKey[Waiting] = web.AppKey("webhooks_waiting", Waiting)


async def deliver(request: web.Request) -> web.StreamResponse:
    """Every method and path under `/hooks/` on a workspace's host. Raises Forbidden for an unknown host."""
    try:
        return await _deliver(request)
    except _Refused as refused:
        reply = web.json_response({"ok": False, "error": str(refused)}, status=refused.status)
        if refused.retry_after_s:
            reply.headers["Retry-After"] = str(refused.retry_after_s)
        if refused.status == 405:
            reply.headers["Allow"] = "POST"
        return reply


async def _deliver(request: web.Request) -> web.StreamResponse:
    if request.method != "POST":
        raise _Refused(405, "A webhook is sent with POST.")
    if not _PATH.fullmatch(request.raw_path):
        raise _Refused(404, "There is no webhook at this address. It has no query, and ends as in /hooks/agent.")
    runtime = await _admitted(request)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(request.app[WAITING].place(runtime.id))
        body = await _body(request)
        taken = _taken(request, runtime, body, stack.pop_all())
    return await request.app[WAITING].see_through(taken)


async def _taken(request: web.Request, runtime: Runtime, body: bytes, place: AsyncExitStack) -> web.Response:
    """All of it is here, so it is delivered. `place`: given back at the end."""
    async with place:
        request.app[ACTIVITY].touch(runtime.id, "a webhook was delivered")
        address = await _ready(request, runtime)
        return await _pass_on(request, runtime, address, body)


async def _admitted(request: web.Request) -> Runtime:
    """Whoever has the token is let in, whatever else came from the same address: services share theirs."""
    place = await request.app[DOORKEEPER].place_of(request.host)
    token, address = _token(request.headers), address_of(request)
    runtime = await request.app[HOOKS].admits(place.id, token)
    if runtime is not None:
        return runtime
    request.app[DECOYS].spot(token, Place.WEBHOOK, address)
    throttle, caller = request.app[WAITING].throttle, f"webhook {address}"
    try:
        throttle.check(caller, caller)
    except TooManyAttempts as error:
        raise _Refused(429, "Too many wrong tokens came from here.", retry_after_s=error.retry_after_s) from None
    throttle.failed(caller, caller)
    raise _Refused(401, "This address takes no webhooks with this token. Its owner finds both on the dashboard.")


def _token(headers: Mapping[str, str]) -> str:
    """As OpenClaw itself reads it (its docs/gateway/config-hooks.md)."""
    kind, _, token = headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if kind.lower() == "bearer" and token.strip() else headers.get("X-OpenClaw-Token", "")


async def _body(request: web.Request) -> bytes:
    if (request.content_length or 0) > MAX_BODY:
        raise _Refused(413, "A webhook may carry 1 MB.")
    parts, total = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.content.iter_any():
                total += len(part)
                if total > MAX_BODY:
                    raise _Refused(413, "A webhook may carry 1 MB.")
                parts.append(part)
    except TimeoutError:
        raise _Refused(408, "The request's body did not arrive in time.") from None
    return b"".join(parts)


async def _ready(request: web.Request, runtime: Runtime) -> str:
    """Where OpenClaw takes it. It is roused from sleep, and never started against its owner's wish."""
    board = request.app[BOARD]
    if runtime.want is not Want.RUNNING:
        raise _Refused(503, "This workspace was stopped by its owner, and takes no webhooks until it is started.")
    try:
        async with asyncio.timeout(READY_S):
            while True:
                view = board.get(runtime.id)
                if view.phase is Phase.READY and view.address is not None:
                    return view.address
                if view.phase is Phase.DEGRADED:
                    raise _Refused(503, "This workspace cannot be started now. Its owner sees why.", retry_after_s=60)
                if view.phase in (Phase.PAUSED, Phase.ASLEEP):
                    await request.app[WAKER].rouse(runtime.id, "a webhook was called")
                    if board.get(runtime.id).phase is Phase.READY:
                        continue
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        raise _Refused(
            504, "The workspace was not ready within 60 seconds. Send this again.", retry_after_s=30
        ) from None


async def _pass_on(request: web.Request, runtime: Runtime, address: str, body: bytes) -> web.Response:
    url = URL(f"http://{address}:{request.app[RUNTIME_PORT]}{request.raw_path}", encoded=True)
    limit = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=5)
    try:
        async with request.config_dict[UPSTREAM].post(
            url, data=body, headers=_headers(request, runtime), timeout=limit, allow_redirects=False
        ) as reply:
            answer = await reply.content.read(MAX_ANSWER)
            headers = {name: value for name, value in reply.headers.items() if name.lower() in _BACK}
            return web.Response(status=reply.status, body=answer, headers=headers)
    except TimeoutError:
        raise _Refused(504, "OpenClaw took the webhook and did not answer within 5 minutes.") from None
    except (aiohttp.ClientError, OSError) as error:
        log.info("runtime %s did not take a webhook: %s", runtime.id, error)
        raise _Refused(502, "OpenClaw broke off. Whether it took the webhook is not known.") from None


def _headers(request: web.Request, runtime: Runtime) -> CIMultiDict[str]:
    """The caller's own (services say in theirs what they send), without whatever OpenClaw might take for ours."""
    sent: CIMultiDict[str] = CIMultiDict(
        (name, value)
        for name, value in request.headers.items()
        if name.lower() in _PASSED or not (_OURS.fullmatch(name.lower()) or name.lower() in _HOP)
    )
    sent[hdrs.HOST] = request.host
    sent[hdrs.AUTHORIZATION] = f"Bearer {(runtime.hook_hash or b'').hex()}"
    return sent

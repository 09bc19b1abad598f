"""One browser's WebSocket and its runtime's, end to end, and over the runtime's sleep.

While the runtime is paused, or worked on, or was stopped because nobody used it, the page is kept connected: it gets
the signs of life that it waits for, its polling is answered as OpenClaw answers while it is suspended, and the first
thing that a person does rouses the runtime and is then delivered. A runtime that was stopped has lost its end: once it
is up again the browser is sent to connect anew, and its page repeats by itself what was sent back to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import NoReturn

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web

from clawloops.clock import now_ms
from clawloops.errors import Unavailable
from clawloops.model.runtime import Phase
from clawloops.web.context import ACTIVITY, BOARD, WAKER
from clawloops.web.frames import ACCEPTING, Meaning, meaning, refusal, tick
from clawloops.web.watch import Watch

log = logging.getLogger(__name__)

REVOKED = 4401
CLOSE_S = 2.0  # how long a peer may take to answer our close before the connection is cut
LOOK_S = 1.0
TICK_S = 20.0  # OpenClaw sends one every 30 s, and its page gives up after 60 s
ROUSE_AGAIN_S = 5.0
CLOSE_CALL_S = 3.0  # whoever did something so shortly before the pause may not have been heard
MAX_NOTES = 16

_DATA = frozenset({WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG})
_RESTS = frozenset({Phase.PAUSED, Phase.ASLEEP, Phase.WORKING})
_GOES_ON = _RESTS | {Phase.READY, Phase.STOPPING, Phase.UNKNOWN}
"""A draining runtime finishes its turn, and a Docker Engine that does not answer says nothing about the runtime."""
_COMES_BACK = _GOES_ON | {Phase.QUEUED, Phase.NETWORK, Phase.CONTAINER, Phase.BOOT}
_SHUTDOWN = b'"event":"shutdown"'  # in the head of OpenClaw's frame; a page that is kept need not prepare for the end

Closing = tuple[int, bytes]
PAGE_USED = "its page was used"
Socket = web.WebSocketResponse[bool] | aiohttp.ClientWebSocketResponse[bool]


class Conversation:
    """`watch` tells when there may be news about the session and the runtime. `why`: what is told of its use."""

    def __init__(
        self,
        app: web.Application,
        runtime_id: str,
        browser: Socket,
        upstream: Socket,
        watch: Watch,
        *,
        why: str = PAGE_USED,
    ) -> None:
        self._app = app
        self._why = why
        self._id = runtime_id
        self._browser = browser
        self._upstream = upstream
        self._watch = watch
        self._awake = asyncio.Event()
        self._awake.set()
        self._resting = asyncio.Event()  # the opposite of `_awake`
        self._gone = False  # the runtime's end was closed while it rested
        self._notes: list[bytes] = []
        self._acted = -CLOSE_CALL_S  # when a person's frame was last delivered, monotonic seconds

    async def run(self) -> None:
        """Until one end closes or the right to it ends; then both get the same close code."""
        work = (self._from_browser(), self._from_runtime(), self._until_over(), self._keep_up())
        tasks = [asyncio.create_task(each) for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            code, reason = done.pop().result()
        except ConnectionError:
            code, reason = WSCloseCode.GOING_AWAY, b""
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(_close(self._browser, code, reason), _close(self._upstream, code, reason))

    @property
    def _phase(self) -> Phase:
        return self._app[BOARD].get(self._id).phase

    async def _until_over(self) -> Closing:
        while True:
            phase = self._phase
            if self._watch.is_over:
                return REVOKED, b"signed out"
            await self._follow(phase)
            kept = self._gone or not self._awake.is_set()
            if phase not in (_COMES_BACK if kept else _GOES_ON):
                return REVOKED, b"workspace stopped"
            if self._watch.is_closing or (self._gone and phase is Phase.READY):
                return WSCloseCode.SERVICE_RESTART, b"restarting"
            await self._watch.news(within_s=LOOK_S)

    async def _follow(self, phase: Phase) -> None:
        """Rest with the runtime, and go on when it is ready: in between, nothing is known that would change that."""
        if phase in _RESTS:
            self._awake.clear()
            self._resting.set()
        elif phase is Phase.READY and not self._awake.is_set() and not self._gone:
            notes, self._notes = self._notes, []
            for each in notes:
                await self._upstream.send_frame(each, WSMsgType.TEXT)
            self._resting.clear()
            self._awake.set()

    async def _keep_up(self) -> NoReturn:
        while True:
            await self._resting.wait()
            if time.monotonic() - self._acted < CLOSE_CALL_S:
                await self._rouse()
            await self._browser.send_frame(ACCEPTING, WSMsgType.TEXT)
            while self._resting.is_set():
                await self._browser.send_frame(tick(now_ms()), WSMsgType.TEXT)
                await _set_within(self._awake, TICK_S)

    async def _from_browser(self) -> Closing:
        """Hand frames on until the browser closes. Waiting for the runtime is what keeps memory bounded."""
        while True:
            message = await self._browser.receive()
            if message.type not in _DATA:
                return _closing(self._browser, message.type, message.data, message.extra)
            is_frame = message.type in (WSMsgType.TEXT, WSMsgType.BINARY)
            kind = meaning(message.data, text=message.type is WSMsgType.TEXT) if is_frame else Meaning.POLL
            if kind is Meaning.PERSON:
                self._app[ACTIVITY].person(self._id, self._why)
                self._watch.note_use()
                while not self._awake.is_set() and not self._gone:
                    await self._rouse()
                self._acted = time.monotonic()
                if self._gone:
                    await self._send_back(bytes(message.data))
                    continue
            elif not self._awake.is_set():
                if message.type is WSMsgType.TEXT:
                    await self._put_off(bytes(message.data), kind)
                continue
            await self._upstream.send_frame(message.data, message.type)

    async def _put_off(self, frame: bytes, kind: Meaning) -> None:
        if kind is Meaning.NOTE:
            self._notes = [*self._notes[1 - MAX_NOTES :], frame]
        else:
            await self._refuse(frame, retry_after_s=int(TICK_S))

    async def _send_back(self, frame: bytes) -> None:
        """There is nobody to deliver it to. A page that is told so keeps it, and sends it once it is connected anew."""
        await self._refuse(frame, retry_after_s=2)
        await self._ask()

    async def _refuse(self, frame: bytes, *, retry_after_s: int) -> None:
        answer = refusal(frame, retry_after_s=retry_after_s)
        if answer is not None:
            await self._browser.send_frame(answer, WSMsgType.TEXT)

    async def _rouse(self) -> None:
        """Ask, and wait a while: what comes of it is seen on the board, and what failed is asked again."""
        await self._ask()
        await self._follow(self._phase)
        await _set_within(self._awake, ROUSE_AGAIN_S)

    async def _ask(self) -> None:
        try:
            await self._app[WAKER].rouse(self._id, self._why)
        except Unavailable as error:
            log.warning("runtime %s is not roused yet: %s", self._id, error)

    async def _from_runtime(self) -> Closing:
        while True:
            message = await self._upstream.receive()
            if message.type not in _DATA:
                break
            stopping = self._phase in (Phase.STOPPING, Phase.ASLEEP)
            if stopping and (not self._awake.is_set() or _SHUTDOWN in bytes(message.data[:200])):
                continue
            await self._browser.send_frame(message.data, message.type)
        code, reason = _closing(self._upstream, message.type, message.data, message.extra)
        if self._awake.is_set() and self._phase not in (*_RESTS, Phase.STOPPING):
            return code, reason
        await _close(self._upstream, code, reason)  # it waits for our answer before it ends
        self._gone = True
        self._watch.wake()
        await asyncio.Event().wait()  # `_until_over` says what becomes of the browser's end
        raise AssertionError("not reached")


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _closing(source: Socket, kind: WSMsgType, code: object, reason: object) -> Closing:
    if kind is WSMsgType.CLOSE:
        return _sendable(code if isinstance(code, int) else None), str(reason or "").encode()[:120]
    if kind is WSMsgType.ERROR:
        return _sendable(source.close_code), b""
    return WSCloseCode.GOING_AWAY, b""


def _sendable(code: int | None) -> int:
    """A code that may stand in a close frame; 1005 and 1006 may not (RFC 6455, 7.4.1)."""
    if not code or code == 1005:
        return WSCloseCode.OK
    return WSCloseCode.GOING_AWAY if code in (1004, 1006, 1015) else code


async def _close(socket: Socket, code: int, reason: bytes) -> None:
    """Close politely, and cut a peer that does not read: a revoked session must not linger in full buffers."""
    try:
        async with asyncio.timeout(CLOSE_S + 1):
            await socket.close(code=code, message=reason)
    except (TimeoutError, ConnectionError):
        log.info("a WebSocket peer did not take the close frame")
    transport = socket.get_extra_info("transport") if isinstance(socket, web.WebSocketResponse) else None
    if transport is not None and not transport.is_closing():
        transport.abort()

"""Workspaces' logs, read by their members: the last lines, those that hold some words, all of it, and what comes next.

What a log holds is a member's, as their files are: an admin reads it while an inspection of theirs is open, and not
otherwise. This is the one place where a request has the Docker Engine asked, and only to read. One log is read at a
time for the whole box, with as long a rest after it: runtimes that print without end cost others half a core at most.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import BinaryIO, TypeVar
from weakref import WeakValueDictionary

from clawloops.clock import now_ms, steady_ms
from clawloops.control.inspections import Inspections
from clawloops.control.masking import Mask
from clawloops.errors import Conflict, EngineRefused, Forbidden, NotFound, Unavailable
from clawloops.finishing import finish
from clawloops.model.account import Session, User
from clawloops.model.logs import MOST_CHARACTERS, Line, holds, plain
from clawloops.model.runtime import Runtime
from clawloops.runtimes.calls import MOST_LOG_ENTRIES
from clawloops.runtimes.files import folder
from clawloops.runtimes.logs import Entry, Reads

MOST_SHOWN = 500
"""Lines that are shown at once."""

FRESH_MS = 900
"""Whoever follows the same log shares what was read so long ago."""

_MOST_SHOWN_CHARACTERS = 1 << 18
_AT_ONCE = 200  # lines that are masked together
_MOST_REST_S = 2.0
_WAIT_S = 3.0  # for one's turn: a live part looks at whether it may go on in between

T = TypeVar("T")
_Lines = Callable[[Iterator[Entry]], Iterator[Line]]  # masked
_Work = Callable[[str, Iterator[Entry], _Lines], T]  # with the id of the container


@dataclass(frozen=True, slots=True)
class Extract:
    """Part of a log, oldest line first."""

    lines: tuple[Line, ...]
    looked_at: int  # lines among which these were found


class Logs:
    def __init__(
        self, inspections: Inspections, read: Reads, *, data: str, secrets_of: Callable[[str], Awaitable[Sequence[str]]]
    ) -> None:
        """`secrets_of` a user: what their workspace may have been given, beside what its files hold now."""
        self._inspections = inspections
        self._secrets_of = secrets_of
        self._read = read
        self._data = data
        self._lane = asyncio.Lock()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # by runtime id
        self._tails: WeakValueDictionary[str, _Tail] = WeakValueDictionary()  # of those that are followed
        self._taken: set[str] = set()  # runtimes whose log is being taken away

    def is_open(self, runtime: Runtime, *, by: User, session: Session | None) -> bool:
        """Whether they may read it now. Memory only.

        `session`: of the dashboard; no inspection is open to who comes without one.
        """
        inspects = session is not None and self._inspections.of_slug(runtime.slug, session) is not None
        return runtime.owner == by.id or inspects

    def admit(self, runtime: Runtime, *, by: User, session: Session | None) -> None:
        """The same. Raises Forbidden where they may not."""
        if not self.is_open(runtime, by=by, session=session):
            raise Forbidden("Only its member reads this log. Open the workspace, with a reason, to read it as well.")

    async def note_reading(self, runtime: Runtime, *, session: Session) -> None:
        """Who inspects a workspace and reads its log has used it, as its member is told."""
        if (inspection := self._inspections.of_slug(runtime.slug, session)) is not None:
            await self._inspections.note_entry(inspection, at=now_ms())

    async def last(self, runtime: Runtime, words: Sequence[str] = (), *, most: int = MOST_SHOWN) -> Extract:
        """The last lines that hold all of these words. Raises NotFound where there is no container, Unavailable."""

        def work(_: str, entries: Iterator[Entry], lines: _Lines) -> Extract:
            kept, looked_at = _Last(most), 0
            for line in lines(entries):
                looked_at += 1
                if holds(line, words):
                    kept.add(line)
            return Extract(tuple(kept.lines), looked_at)

        return await self._in_turn(runtime, MOST_LOG_ENTRIES if words else most, work)

    @asynccontextmanager
    async def file(self, runtime: Runtime) -> AsyncIterator[BinaryIO]:
        """All lines that can be read, as UTF-8 text in a file without a name. One at a time for each workspace.

        It is read from the Engine at once, so that whoever takes it slowly keeps nobody waiting. Raises as `last`, and
        Conflict.
        """
        if runtime.id in self._taken:
            raise Conflict("This log is being downloaded already. Wait until that has ended.")
        self._taken.add(runtime.id)
        try:
            with await self._filled(runtime) as file:
                yield file
        finally:
            self._taken.discard(runtime.id)

    def follow(self, runtime: Runtime, words: Sequence[str] = ()) -> Follower:
        """What comes from now on. All who follow one log have it read once for all of them."""
        tail = self._tails.get(runtime.id) or _Tail(self._refreshed)
        self._tails[runtime.id] = tail
        return Follower(self, tail, runtime, words)

    async def _filled(self, runtime: Runtime) -> BinaryIO:
        def work(_: str, entries: Iterator[Entry], lines: _Lines) -> BinaryIO:
            with ExitStack() as stack:
                file = stack.enter_context(tempfile.TemporaryFile(dir=self._data))
                for line in lines(entries):
                    file.write(f"{line.at} {'err' if line.is_error else 'out'} {line.text}\n".encode())
                file.seek(0)
                stack.pop_all()  # it is whole: whoever gets it closes it
                return file

        try:
            return await self._in_turn(runtime, MOST_LOG_ENTRIES, work)
        except OSError as error:
            why = f"The log could not be put together ({error.strerror}). Free some space first."
            raise Unavailable(why) from error

    async def _refreshed(self, runtime: Runtime, known: _Known) -> _News:
        def work(container_id: str, entries: Iterator[Entry], lines: _Lines) -> _News:
            read = list(entries)
            since, is_whole = 0, container_id != known.container
            if not is_whole and known.last is not None:
                since = next((at for at in range(len(read), 0, -1) if read[at - 1] == known.last), 0)
                is_whole = since == 0
            new = tuple(lines(iter(read[since:])))
            return _News(_Known(container_id, read[-1] if read else None), new, is_whole)

        return await self._in_turn(runtime, MOST_SHOWN, work)

    async def _in_turn(self, runtime: Runtime, entries: int, work: _Work[T]) -> T:
        """Whoever asks for one log again and again waits for themselves first, and only then for others."""
        turn = self._turns.setdefault(runtime.id, asyncio.Lock())
        try:
            async with asyncio.timeout(_WAIT_S) as wait, turn:
                await self._lane.acquire()
                wait.reschedule(None)
                return await finish(self._read_and_rest(runtime, entries, work))
        except TimeoutError:
            raise Unavailable("This box reads other logs just now. It is tried again; or load the page anew.") from None

    async def _read_and_rest(self, runtime: Runtime, entries: int, work: _Work[T]) -> T:
        began = time.monotonic()
        try:
            lines = partial(self._lines, runtime, await self._secrets_of(runtime.owner))
            return await self._read(runtime.id, entries, lambda container_id, read: work(container_id, read, lines))
        except EngineRefused as error:
            if error.status not in (404, 409):  # 409: it is being removed just now
                raise
            raise NotFound(
                "This workspace has no container now, and its log went with the last one. Start the workspace: a new "
                "log begins."
            ) from error
        finally:
            rest_s = min(time.monotonic() - began, _MOST_REST_S)
            asyncio.get_running_loop().call_later(rest_s, self._lane.release)

    def _lines(self, runtime: Runtime, others: Sequence[str], entries: Iterator[Entry]) -> Iterator[Line]:
        """In a thread: it reads the runtime's secrets anew, which each container has its own of."""
        mask = Mask([*folder(self._data, runtime.id).secrets(), *others])
        while some := list(islice(entries, _AT_ONCE)):
            texts = mask.over("\0".join(plain(each.text) for each in some)).split("\0")
            for entry, text in zip(some, texts, strict=True):
                is_cut = entry.is_cut or len(text) > MOST_CHARACTERS
                yield Line(entry.at, entry.is_error, text[:MOST_CHARACTERS] + ("…" if is_cut else ""))


class Follower:
    """One who reads a log as it grows."""

    def __init__(self, logs: Logs, tail: _Tail, runtime: Runtime, words: Sequence[str]) -> None:
        self._logs = logs
        self._tail = tail
        self._runtime = runtime
        self._words = words
        self._seen = self._begun = 0
        self._first: frozenset[Line] = frozenset()

    async def begin(self) -> Extract:
        """What there is, from which `more` goes on. Raises NotFound and Unavailable."""
        tail = self._tail
        await tail.refresh(self._runtime)
        self._seen, self._begun = tail.count, tail.begun
        shown = Extract(tuple(tail.last.lines), len(tail.last.lines))
        if self._words:
            shown = await self._logs.last(self._runtime, self._words)
        self._first = frozenset(shown.lines)
        return shown

    async def more(self) -> tuple[Line, ...] | None:
        """What has come since; None where that does not go on from what was told: `begin` again. Raises as `begin`."""
        tail = self._tail
        await tail.refresh(self._runtime)
        behind = tail.count - self._seen
        if tail.begun != self._begun or behind > len(tail.last.lines):
            return None
        self._seen = tail.count
        new = tuple(tail.last.lines)[-behind:] if behind else ()
        # What was printed while `begin` looked for words is known already.
        return tuple(each for each in new if holds(each, self._words) and each not in self._first)


@dataclass(frozen=True, slots=True)
class _Known:
    """How far a log was read."""

    container: str = ""
    last: Entry | None = None


@dataclass(frozen=True, slots=True)
class _News:
    known: _Known
    lines: tuple[Line, ...]
    is_whole: bool  # these do not go on from what was read before: another container, or it prints too fast


class _Tail:
    """The end of one log, for as long as somebody follows it."""

    def __init__(self, read: Callable[[Runtime, _Known], Awaitable[_News]]) -> None:
        self._read = read
        self._known = _Known()
        self._fresh_until = 0
        self._reading = asyncio.Lock()
        self.last = _Last(MOST_SHOWN)
        self.count = 0  # of all lines that ever came
        self.begun = 0  # how often it had to begin anew

    async def refresh(self, runtime: Runtime) -> None:
        async with self._reading:
            if steady_ms() < self._fresh_until:
                return
            news = await self._read(runtime, self._known)
            if news.is_whole:
                self.last, self.begun = _Last(MOST_SHOWN), self.begun + 1
            for each in news.lines:
                self.last.add(each)
            self.count += len(news.lines)
            self._known, self._fresh_until = news.known, steady_ms() + FRESH_MS


class _Last:
    """The last lines of all that were added, and not too many characters."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._characters = 0
        self.lines: deque[Line] = deque()

    def add(self, line: Line) -> None:
        self.lines.append(line)
        self._characters += len(line.text)
        while len(self.lines) > self._most or self._characters > _MOST_SHOWN_CHARACTERS:
            self._characters -= len(self.lines.popleft().text)

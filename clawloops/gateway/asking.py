"""Connections that wait for a person to say whether they may be made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from clawloops.clock import now_ms

WAITS_S = 60.0  # a connection; whoever made it may give up sooner, and find the answer at the next try
KEPT_MS = 15 * 60 * 1000  # a question that nobody waits for any more
MOST = 20  # questions about one member's workspace


@dataclass(slots=True)
class Question:
    """May this member's workspace connect there?"""

    user_id: str
    host: str
    port: int
    since: int  # Unix ms of the first connection that wanted it
    last_at: int = 0
    waiting: int = 0  # connections
    answered: asyncio.Event = field(default_factory=asyncio.Event, repr=False)


class Asking:
    """All open questions. An answer is a rule, and what waits is judged by it."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str, int], Question] = {}

    async def ask(self, user_id: str, host: str, port: int, *, is_over: Callable[[], bool]) -> None:
        """Until it is answered, for a minute, or until it `is_over()`. With too many questions open it is not asked."""
        key = (user_id, host, port)
        question = self._open.get(key)
        if question is None:
            self.sweep()
            if len(self.of(user_id)) >= MOST:
                return
            question = self._open[key] = Question(user_id, host, port, since=now_ms())
        question.last_at = now_ms()
        question.waiting += 1
        try:
            loop = asyncio.get_running_loop()
            until = loop.time() + WAITS_S
            while not question.answered.is_set() and not is_over() and loop.time() < until:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(0.5, until - loop.time())):
                        await question.answered.wait()
        finally:
            question.waiting -= 1
            question.last_at = now_ms()

    def of(self, user_id: str) -> list[Question]:
        """Oldest first."""
        return [each for each in self._open.values() if each.user_id == user_id]

    def settle(self, is_decided: Callable[[str, str, int], bool]) -> None:
        """Rules have changed: whatever `is_decided(user_id, host, port)` now is no question any more."""
        for key, question in list(self._open.items()):
            if is_decided(*key):
                del self._open[key]
                question.answered.set()

    def sweep(self) -> None:
        """Forget what nobody has wanted for a quarter of an hour."""
        oldest = now_ms() - KEPT_MS
        for key, question in list(self._open.items()):
            if not question.waiting and question.last_at < oldest:
                del self._open[key]

"""Attempts with a password that were not right, counted per account and per address in a sliding window.

Memory only, and by the steady clock: a clock that is set back makes nobody wait longer.
"""

from __future__ import annotations

from collections import deque

from clawloops.clock import steady_ms
from clawloops.errors import TooManyAttempts

WINDOW_MS = 15 * 60 * 1000
PER_ACCOUNT = 8
PER_ADDRESS = 30
_MAX_KEYS = 10_000


class Throttle:
    def __init__(self) -> None:
        self._failed: dict[str, deque[int]] = {}

    def attempt(self, login: str, address: str) -> None:
        """`check`, before a password is looked at: it counts as failed until it is told to be right.

        That look takes a while: so of many guesses at once no more are looked at than of as many in turn.
        """
        self.check(login, address)
        self.failed(login, address)

    def check(self, login: str, address: str) -> None:
        """Raises TooManyAttempts when this account or this address has failed too often lately."""
        now = steady_ms()
        for key, limit in ((f"login:{login}", PER_ACCOUNT), (f"address:{address}", PER_ADDRESS)):
            failed = self._recent(key, now)
            if len(failed) >= limit:
                wait_s = max(1, (failed[0] + WINDOW_MS - now) // 1000)
                raise TooManyAttempts(
                    f"Too many failed sign-ins. Try again in {wait_s // 60 + 1} minutes.", retry_after_s=wait_s
                )

    def failed(self, login: str, address: str) -> None:
        now = steady_ms()
        for key in (f"login:{login}", f"address:{address}"):
            if len(self._failed) >= _MAX_KEYS:
                self._failed.pop(next(iter(self._failed)))
            self._recent(key, now)
            self._failed.setdefault(key, deque(maxlen=PER_ADDRESS)).append(now)

    def succeeded(self, login: str, address: str) -> None:
        """A right password clears the account's count; of the address's it takes back its own attempt alone."""
        self._failed.pop(f"login:{login}", None)
        if failed := self._recent(f"address:{address}", steady_ms()):
            failed.pop()

    def _recent(self, key: str, now: int) -> deque[int]:
        failed = self._failed.get(key)
        if failed is None:
            return deque()
        while failed and failed[0] <= now - WINDOW_MS:
            failed.popleft()
        if not failed:
            del self._failed[key]
        return failed

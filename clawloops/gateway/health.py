"""Which backends and keys are worth a call now. Pure: the callers bring the time, in seconds that only rise.

A backend that fails `_MOST` times in a row is left alone for `_FIRST_REST_S`, twice as long each time that it then
fails again, up to `_LONGEST_REST_S`; one call at a time tries it after that. A check that finds it well ends its rest.
A key that is refused, or asked to slow down, is passed over for a while where there is another one.
"""

from __future__ import annotations

from dataclasses import dataclass

_MOST = 6
_FIRST_REST_S = 5.0
_LONGEST_REST_S = 120.0
_TRIAL_S = 30.0  # how long the one call that tries a rested backend keeps others away
KEY_REFUSED_S = 300.0
KEY_SLOWED_S = 20.0
_LONGEST_SLOWED_S = 3600.0


@dataclass(slots=True)
class _State:
    failures: int = 0  # in a row
    closed_until: float = 0.0
    rest_s: float = 0.0
    is_tried: bool = False  # by the one call after a rest
    why: str = ""
    since_ms: int = 0  # Unix ms of the first failure in a row


@dataclass(frozen=True, slots=True)
class Condition:
    """What an admin is told of a backend."""

    is_resting: bool  # no call is made to it for now
    why: str = ""  # what went wrong last; "" while it answers
    since: int = 0  # Unix ms


class Health:
    """What calls and checks have learned. Lost with the process: the next one learns it within a few calls."""

    def __init__(self) -> None:
        self._backends: dict[str, _State] = {}
        self._keys: dict[str, float] = {}  # credential id -> when it is worth another try

    def admits(self, backend_id: str, now: float) -> bool:
        """Whether a call may be made; of those that ask after a rest, one may."""
        state = self._backends.get(backend_id)
        if state is None or state.failures < _MOST:
            return True
        if now < state.closed_until:
            return False
        state.closed_until = now + _TRIAL_S
        state.is_tried = True
        return True

    def wait_s(self, backend_id: str, now: float) -> float:
        """How long until `admits` says yes again."""
        state = self._backends.get(backend_id)
        return max(0.0, state.closed_until - now) if state is not None and state.failures >= _MOST else 0.0

    def worked(self, backend_id: str) -> None:
        if backend_id in self._backends:
            del self._backends[backend_id]

    def failed(self, backend_id: str, why: str, now: float, *, at: int) -> None:
        """`why`: a few words for an admin. `at`: Unix ms."""
        state = self._backends.setdefault(backend_id, _State(since_ms=at))
        state.failures += 1
        state.why = why
        if state.failures == _MOST or state.is_tried:  # others that were under way when its rest began change nothing
            state.is_tried = False
            state.rest_s = min(_LONGEST_REST_S, state.rest_s * 2) if state.rest_s else _FIRST_REST_S
            state.closed_until = now + state.rest_s

    def untried(self, backend_id: str) -> None:
        """The call that was to try it came to no verdict (its caller left): let another one."""
        state = self._backends.get(backend_id)
        if state is not None and state.is_tried:
            state.closed_until, state.is_tried = 0.0, False

    def condition(self, backend_id: str, now: float) -> Condition:
        state = self._backends.get(backend_id)
        if state is None:
            return Condition(is_resting=False)
        return Condition(self.wait_s(backend_id, now) > 0, state.why, state.since_ms)

    def set_key_aside(self, credential_id: str, now: float, seconds: float) -> None:
        self._keys[credential_id] = now + min(seconds, _LONGEST_SLOWED_S)

    def key_is_aside(self, credential_id: str, now: float) -> bool:
        return now < self._keys.get(credential_id, 0.0)

    def forget_key(self, credential_id: str) -> None:
        self._keys.pop(credential_id, None)

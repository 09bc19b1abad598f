"""Who used which runtime last, and for what. Memory only: after a restart everybody counts as just seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clawloops.clock import steady_ms


class Activity:
    """Told by the relay, ForwardAuth and the gateway, read by the keepers. Instants are monotonic, in ms."""

    def __init__(self) -> None:
        self._began = steady_ms()
        self._last: dict[str, tuple[int, str]] = {}
        self._calls: dict[str, int] = {}

    def touch(self, runtime_id: str, what: str) -> None:
        """Somebody or something used it just now. `what`: a sentence for the runtime's page. Never blocks."""
        self._last[runtime_id] = (steady_ms(), what)

    @contextmanager
    def call(self, runtime_id: str) -> Iterator[None]:
        """A model call that is under way: it is in use until that ends."""
        self._calls[runtime_id] = self._calls.get(runtime_id, 0) + 1
        try:
            yield
        finally:
            self._calls[runtime_id] -= 1
            self.touch(runtime_id, "a model was asked")

    def calls(self, runtime_id: str) -> int:
        """Model calls that are under way."""
        return self._calls.get(runtime_id, 0)

    def idle_ms(self, runtime_id: str) -> int:
        """How long nobody has used it; 0 while a model call is under way."""
        if self.calls(runtime_id):
            return 0
        return steady_ms() - self._last.get(runtime_id, (self._began, ""))[0]

    def what(self, runtime_id: str) -> str:
        """What it was last used for; "" when that is not known."""
        return self._last.get(runtime_id, (0, ""))[1]

    def forget(self, runtime_id: str) -> None:
        self._last.pop(runtime_id, None)
        self._calls.pop(runtime_id, None)

"""A question to one public name, asked and paid for like any call: through the members' door of the gateway."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from clawloops.clock import now_ms, steady_ms
from clawloops.control.audit import Audit
from clawloops.control.models import Models
from clawloops.errors import Forbidden
from clawloops.gateway.route import Directory
from clawloops.model.account import User
from clawloops.model.key import PREFIX, ApiKey
from clawloops.model.provider import Model
from clawloops.model.usage import Tokens

QUESTION = "Say hello in one short sentence."
LIMIT_S = 180  # a local server may have to load the model first
MOST_TOKENS = 256  # a model that thinks first needs some for that
_PLAIN = {"Accept-Encoding": "identity"}
_MOST_BYTES = 1024 * 1024
_MOST_SHOWN = 600  # characters
_MALFORMED = "It answered, but not like a model does. Is the backend's address right?"


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it. It is counted, and paid for, as a call of whoever asked."""

    model: str
    answer: str = ""  # may be empty: a model can spend all its tokens on thinking
    why: str = ""  # it has not answered; with the next step
    tokens: Tokens = Tokens()  # as the backend has counted them
    took_ms: int = 0

    @property
    def is_answered(self) -> bool:
        return not self.why


class Trials:
    def __init__(
        self, models: Models, directory: Directory, audit: Audit, session: aiohttp.ClientSession, *, door: str
    ) -> None:
        """`door`: HOST:PORT on which the gateway answers members' own tools."""
        self._models = models
        self._directory = directory
        self._audit = audit
        self._session = session
        self._door = door

    async def ask(self, model_id: str, *, by: User) -> Trial:
        """Wait for one short answer. What goes wrong on the way is told in the trial. Raises NotFound, Forbidden."""
        if not by.role.administers:
            raise Forbidden("Only an admin can try a model here.")
        model, begun = self._models.get(model_id), steady_ms()
        with self._lent_key(model, by) as key:
            trial = await self._ask(model, key, begun)
        await self._audit.record(by.id, "model tried", model.name, "it answered" if trial.is_answered else "no answer")
        return trial

    @contextmanager
    def _lent_key(self, model: Model, by: User) -> Iterator[str]:
        """A key of theirs for this name, which nobody is told and which ends with the trial. In memory only."""
        text, now = PREFIX + secrets.token_urlsafe(32), now_ms()
        key = ApiKey(
            id="k" + secrets.token_hex(8),
            user_id=by.id,
            name="trial",
            token_hash=hashlib.sha256(text.encode()).digest(),
            hint="",
            models=frozenset([model.name]),
            created_at=now,
            expires_at=now + 2 * LIMIT_S * 1000,
        )
        self._directory.set_key(key)
        try:
            yield text
        finally:
            self._directory.drop_key(key.id)

    async def _ask(self, model: Model, key: str, begun: int) -> Trial:
        body = {
            "model": model.name,
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": min(MOST_TOKENS, model.max_tokens),
        }
        try:
            async with self._session.post(
                f"http://{self._door}/v1/chat/completions",
                data=orjson.dumps(body),
                headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | _PLAIN,
                timeout=aiohttp.ClientTimeout(total=LIMIT_S),
            ) as reply:
                raw, status = await reply.content.read(_MOST_BYTES), reply.status
                while not reply.content.at_eof() and len(raw) < _MOST_BYTES:
                    raw += await reply.content.read(_MOST_BYTES - len(raw))
        except TimeoutError:
            return Trial(model.name, why=f"It did not answer within {LIMIT_S} s. Is it still being loaded? Try again.")
        except (aiohttp.ClientError, OSError):
            return Trial(model.name, why="The answer broke off. Look at the backend under Models, and try again.")
        found = _object(raw)
        if status != 200:
            said = _dig(found, "error", "message")
            return Trial(model.name, why=str(said or f"The gateway refused it (HTTP {status}).")[:_MOST_SHOWN])
        if not isinstance(found.get("choices"), list):
            return Trial(model.name, why=_MALFORMED)
        said = _dig(found, "choices", 0, "message", "content")
        return Trial(
            model.name,
            answer=" ".join(said.split())[:_MOST_SHOWN] if isinstance(said, str) else "",
            tokens=Tokens(_count(found, "prompt_tokens"), _count(found, "completion_tokens")),
            took_ms=steady_ms() - begun,
        )


def _object(raw: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _count(found: dict[str, Any], name: str) -> int:
    value = _dig(found, "usage", name)
    return value if isinstance(value, int) else 0


def _dig(found: Any, *path: str | int) -> Any:
    """What stands there; None where anything on the way is missing or is something else."""
    for each in path:
        match found, each:
            case dict(), str():
                found = found.get(each)
            case list(), int() if each < len(found):
                found = found[each]
            case _:
                return None
    return found

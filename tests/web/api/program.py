"""A program that speaks to the API over the real listener, in a member's name."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from clawloops.model.account import Role, User
from clawloops.model.token import PersonalToken, TokenScope
from clawloops.web.api.operation import ROOT, Operation
from tests.web.box import Box

EVERY = frozenset(TokenScope)
OWN = frozenset(each for each in TokenScope if not each.is_for_admins)
_UNSET = object()


@dataclass(frozen=True)
class Answer:
    status: int
    kind: str  # media type
    body: Any  # as read from JSON; None of an empty answer
    headers: Any

    @property
    def pointers(self) -> list[str]:
        """Where a problem document says that something is wrong."""
        return [each["pointer"] for each in self.body.get("errors", [])]


@dataclass(frozen=True)
class Program:
    box: Box
    user: User
    secret: str

    @property
    def token(self) -> PersonalToken:
        return next(each for each in self.box.tokens.of(self.user) if self.secret.startswith(each.hint))

    async def __call__(
        self, method: str, path: str, body: object = _UNSET, *, headers: dict[str, str] | None = None
    ) -> Answer:
        sent = {"Authorization": f"Bearer {self.secret}", **(headers or {})}
        return await ask(self.box, method, path, body, headers=sent)


async def ask(
    box: Box, method: str, path: str, body: object = _UNSET, *, headers: dict[str, str] | None = None
) -> Answer:
    """One call, without a token unless `headers` brings one."""
    sent, data = dict(headers or {}), None
    if body is not _UNSET:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent.setdefault("Content-Type", "application/json")
    reply = await box.ask(method, ROOT + path, headers=sent, data=data)
    text = await reply.read()
    return Answer(reply.status, reply.content_type, json.loads(text) if text else None, reply.headers)


async def program(box: Box, user: User, scopes: Collection[TokenScope] = EVERY, *, name: str = "script") -> Program:
    allowed = scopes if user.role.administers else OWN.intersection(scopes)
    return Program(box, user, await box.tokens.make(name=name, scopes=allowed, days=90, by=user))


async def admin(box: Box, login: str = "olga", role: Role = Role.OWNER) -> Program:
    return await program(box, await box.member(login, role))


def filled(operation: Operation, **ids: str) -> str:
    """The path of an operation, with something in each of its places."""
    return operation.path.format(
        **{name: ids.get(name, "1" if name == "number" else "x1") for name in operation.parameters}
    )

"""One's own keys for tools that call models. A key that a token makes ends with that token at the latest."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from clawloops.control.keys import KeyUse
from clawloops.errors import NotSignedIn
from clawloops.model.key import ApiKey
from clawloops.web.api.me import Used, used
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Listed, Paged, page_of
from clawloops.web.api.shapes import Given, Id, Instant, Line, Name, Shown, at, at_or_none
from clawloops.web.context import KEYS, TOKENS


class Key(Shown, frozen=True):
    id: str
    name: str
    hint: str
    """The key's first characters."""
    models: list[str]
    """Public names that it opens; none: every one."""
    made_at: Instant
    ends_at: Instant | None
    made_by_token: str | None
    """The id of the token that it was made with, and ends with."""


class UsedKey(Key, frozen=True):
    last_used_at: Instant | None
    used_this_month: Used


class NewKey(Given, frozen=True):
    name: Name
    models: Annotated[tuple[Line, ...], Meta(max_length=200)] = ()
    days: Annotated[int, Meta(ge=0, le=3650, description="After how many it ends; 0: with this token.")] = 0


class MadeKey(Shown, frozen=True):
    """It is told once: only a hash is kept."""

    secret: str
    key: Key


async def list_own(call: Call, query: Paged) -> Listed[UsedKey]:
    """Oldest first."""
    found = await call.app[KEYS].of(call.user)
    return page_of(found, query, key=lambda each: (each.key.created_at, each.key.id), show=_used)


async def make(call: Call, body: NewKey) -> MadeKey:
    """It ends no later than the token of this call, and with it."""
    key, secret = await call.app[KEYS].make(
        name=body.name, models=body.models, days=body.days, by=call.user, token=call.token
    )
    if not call.app[TOKENS].is_live(call.token):  # it was revoked while the key was being made
        call.app[KEYS].end_made_with(call.token.id)
        raise NotSignedIn("This token was revoked meanwhile.")
    return MadeKey(secret=secret, key=Key(**_told(key)))


async def revoke(call: Call, id: Id) -> None:
    """The next call with it is refused."""
    await call.app[KEYS].revoke(id, by=call.user)


def _used(use: KeyUse) -> UsedKey:
    return UsedKey(**_told(use.key), last_used_at=at_or_none(use.last_at), used_this_month=used(use.total))


def _told(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "models": sorted(key.models),
        "made_at": at(key.created_at),
        "ends_at": at_or_none(key.expires_at),
        "made_by_token": key.token_id,
    }

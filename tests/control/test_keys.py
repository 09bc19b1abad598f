"""Keys of members' own tools: made once, open at once, ended at once, counted apart."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from clawloops.clock import now_ms
from clawloops.control import keys as control
from clawloops.control.keys import DAY_MS, Keys
from clawloops.errors import BadInput, Forbidden, NotFound, NotSignedIn
from clawloops.gateway.route import Directory
from clawloops.model.account import User
from clawloops.model.provider import Backend, BackendKind, Model, Place, Route, Target
from clawloops.model.usage import Call, Tokens
from clawloops.store import usage
from tests.control.conftest import House


@dataclass
class Ring:
    house: House
    keys: Keys
    directory: Directory
    olga: User
    ada: User
    ben: User

    async def make(self, name: str = "laptop", *, models: tuple[str, ...] = (), days: int = 0) -> str:
        _, text = await self.keys.make(name=name, models=models, days=days, by=self.ada)
        return text


@pytest.fixture
async def ring(house: House) -> Ring:
    directory = Directory()
    backend = Backend("b0", "Lab", BackendKind.OLLAMA, "http://x", "", 0)
    directory.set_routes(
        [
            Route(Model(f"m{name}", name, (Place("b0", name),), 1, 1, False, 0), (Target(backend, name),))
            for name in ("small", "large")
        ]
    )
    olga, _ = await house.join("olga")
    ada, _ = await house.join("ada", by=olga)
    ben, _ = await house.join("ben", by=olga)
    return Ring(house, Keys(house.db, house.audit, directory), directory, olga, ada, ben)


async def test_a_key_is_told_once_kept_as_a_hash_and_open_at_once(ring: Ring) -> None:
    token = await ring.make()
    assert token.startswith("clk_") and len(token) > 40
    caller = ring.directory.find_key(token)
    assert (caller.user_id, caller.runtime_id) == (ring.ada.id, "")
    rows = "".join(str(dict(row)) for row in await ring.house.db.fetch("SELECT * FROM api_keys"))
    assert token not in rows and token[:10] in rows
    with pytest.raises(NotSignedIn):
        ring.directory.find(token, "127.0.0.1")  # not at the runtimes' door


async def test_it_opens_only_the_models_that_it_was_made_for(ring: Ring) -> None:
    caller = ring.directory.find_key(await ring.make(models=("large",)))
    assert [route.model.name for route in ring.directory.routes(caller)] == ["large"]
    with pytest.raises(Forbidden):
        ring.directory.route("small", caller)
    everything = ring.directory.find_key(await ring.make("desktop"))
    assert ring.directory.route("small", everything).model.name == "small"


async def test_a_revoked_an_ended_and_an_unknown_key_open_nothing(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, ends = await ring.make(), await ring.make("for a month", days=30)
    (mine,) = [use.key for use in await ring.keys.of(ring.ada) if use.key.name == "laptop"]
    with pytest.raises(NotFound):
        await ring.keys.revoke(mine.id, by=ring.ben)
    assert ring.directory.find_key(kept)
    await ring.keys.revoke(mine.id, by=ring.ada)
    later = now_ms() + 31 * control.DAY_MS
    monkeypatch.setattr("clawloops.gateway.route.now_ms", lambda: later)
    for token in (kept, ends, "clk_x", ""):
        with pytest.raises(NotSignedIn, match="under Keys"):
            ring.directory.find_key(token)


async def test_after_a_restart_the_same_keys_open(ring: Ring) -> None:
    token = await ring.make(models=("small",), days=30)
    again = Directory()
    await Keys(ring.house.db, ring.house.audit, again).load()
    assert again.find_key(token) == ring.directory.find_key(token)


async def test_who_is_shut_out_has_no_key_until_let_in_again(ring: Ring) -> None:
    token = await ring.make()
    ring.keys.shut_out(ring.ada.id)
    with pytest.raises(NotSignedIn):
        ring.directory.find_key(token)
    await ring.keys.let_in(ring.ada.id)
    assert ring.directory.find_key(token)


async def test_a_disabled_member_has_none_after_a_restart_either(ring: Ring) -> None:
    token = await ring.make()
    await ring.house.accounts.disable(ring.ada.id, by=ring.olga)
    again = Directory()
    await Keys(ring.house.db, ring.house.audit, again).load()
    with pytest.raises(NotSignedIn):
        again.find_key(token)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"name": "laptop"}, "name"),
        ({"models": ("other",)}, "models"),
        ({"days": -1}, "days"),
        ({"days": 99_999}, "days"),
    ],
)
async def test_bad_input_is_named(ring: Ring, fields: dict[str, object], field: str) -> None:
    await ring.make()
    with pytest.raises(BadInput) as refused:
        await ring.make(**{"name": "another", **fields})  # type: ignore[arg-type]  # whatever a form may send
    assert refused.value.field == field
    assert len(await ring.keys.of(ring.ada)) == 1


async def test_there_is_a_most(ring: Ring) -> None:
    for number in range(control.MOST):
        await ring.make(f"tool {number}")
    with pytest.raises(BadInput, match="Revoke one"):
        await ring.make("one more")


async def test_each_key_is_counted_apart(ring: Ring) -> None:
    for name in ("busy", "idle"):
        await ring.make(name)
    ids = {use.key.name: use.key.id for use in await ring.keys.of(ring.ada)}
    now, long_ago = now_ms(), now_ms() - 40 * DAY_MS
    calls = [
        Call(f"{number:032}", at, ring.ada.id, "", "small", "b0", Tokens(10, number), 200, 1, 2, ids["busy"])
        for number, at in ((5, long_ago), (20, now - 1), (30, now))
    ]
    calls.append(Call("f" * 32, now, ring.ada.id, "r1", "small", "b0", Tokens(1, 1), 200, 1, 2))
    await usage.settle(ring.house.db, calls, log="test", offset=1)
    used = {use.key.name: use for use in await ring.keys.of(ring.ada)}
    assert (used["busy"].total.calls, used["busy"].total.output, used["busy"].last_at) == (2, 50, now)
    assert (used["idle"].total.calls, used["idle"].last_at) == (0, 0)

"""Backends: tried with a real call, sealed, handed to the gateway; whatever is wrong is told beside its field."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from clawloops.control.backends import Backends
from clawloops.control.connecting import BundledParts
from clawloops.control.groups import Groups
from clawloops.control.models import Models
from clawloops.control.prices import Prices
from clawloops.errors import BadInput, Forbidden, SealBroken
from clawloops.gateway.health import Health
from clawloops.gateway.queue import Queue
from clawloops.gateway.route import Caller, Directory
from clawloops.model.account import User
from clawloops.model.provider import BackendKind, Grants, Place
from clawloops.store.seal import Sealer
from tests.control.conftest import House
from tests.upstream import Script, Upstream, serve

KEY = "sk-canary-2b7f11c09d"


class Lan(AbstractResolver):
    """Every name of this test's LAN is this machine."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if not host.endswith(".test"):
            raise OSError(f"{host} is not on this LAN")
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        """Nothing is held."""


@dataclass
class Shelf:
    house: House
    models: Models
    backends: Backends
    groups: Groups
    health: Health
    directory: Directory
    upstream: Upstream
    owner: User
    woken: list[bool]
    session: aiohttp.ClientSession
    prices: Prices

    async def add(
        self, *names: str, kind: BackendKind = BackendKind.OPENAI, by: User | None = None, **form: str
    ) -> None:
        fields = {"name": "Lab", "url": self.address, "provider": "", "key": KEY} | form
        await self.backends.add(kind=kind, names=names, by=by or self.owner, **fields)

    @property
    def address(self) -> str:
        return self.upstream.url.replace("127.0.0.1", "lab.test") + "/v1"

    def again(self, master: bytes) -> Models:
        """The services of a process started later, with this master key."""
        sealer = Sealer(master, install_id="0123abcd")
        return Models(self.house.db, sealer, Directory(), self.house.audit, prices=self.prices, wake_all=lambda: None)


MASTER = os.urandom(32)


@pytest.fixture
async def shelf(house: House) -> AsyncIterator[Shelf]:
    owner, _ = await house.join("ada")
    directory, woken = Directory(), list[bool]()
    async with (
        serve() as upstream,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Lan()), trust_env=False) as session,
    ):
        sealer, health = Sealer(MASTER, install_id="0123abcd"), Health()
        queue = Queue(weight_of=directory.weight_of)
        bundled = BundledParts(upstream.url, "", "")
        prices = Prices(house.db, house.audit, session, bundled)
        models = Models(house.db, sealer, directory, house.audit, prices=prices, wake_all=lambda: woken.append(True))
        backends = Backends(
            house.db, sealer, session, models,
            health=health, queue=queue, audit=house.audit, bundled=bundled,
        )  # fmt: skip
        groups = Groups(house.db, house.audit, changed=models.changed)
        yield Shelf(house, models, backends, groups, health, directory, upstream, owner, woken, session, prices)


async def test_a_backend_is_tried_sealed_and_open_to_the_gateway(shelf: Shelf) -> None:
    await shelf.add("tiny", f"key-{KEY}")
    route = shelf.directory.route("tiny", Caller("u-ada", bytes(32)))
    (target,) = route.targets
    assert ([each.key for each in target.credentials], target.backend.url) == ([KEY], shelf.address)
    assert route.model.is_default
    assert shelf.woken
    assert any(seen.authorization == f"Bearer {KEY}" for seen in shelf.upstream.seen)
    stored = "".join(str(dict(row)) for row in await shelf.house.db.fetch("SELECT * FROM credentials"))
    assert KEY not in stored
    assert KEY not in repr(route)


async def test_a_restart_opens_what_was_sealed_and_another_master_key_does_not(shelf: Shelf) -> None:
    await shelf.add("tiny")
    await shelf.again(MASTER).load()
    with pytest.raises(SealBroken):
        await shelf.again(os.urandom(32)).load()


async def test_a_key_moved_to_another_address_does_not_open(shelf: Shelf) -> None:
    await shelf.add("tiny")
    await shelf.house.db.execute("UPDATE backends SET url = $1", "http://attacker.test/v1")
    with pytest.raises(SealBroken):
        await shelf.models.load()


async def test_without_names_everything_that_is_listed_is_taken(shelf: Shelf) -> None:
    shelf.upstream.scripts["large:latest"] = Script()
    await shelf.add(kind=BackendKind.OLLAMA, url="", key="")
    assert sorted(each.name for each in shelf.models.names()) == ["large:latest", "small:latest"]
    assert shelf.models.names()[0].context_window == 32_768


@pytest.mark.parametrize(
    ("form", "names", "field", "says"),
    [
        ({"url": "http://nobody.test:9/v1"}, ("tiny",), "url", "Check the address"),
        ({"url": "http://127.0.0.1:11434/v1"}, ("tiny",), "url", "host.docker.internal"),
        ({"url": "http://localhost:1234"}, ("tiny",), "url", "host.docker.internal"),
        ({"url": "http://:a-password@lab.test"}, ("tiny",), "url", "http or https"),
        ({"url": "ftp://lab.test"}, ("tiny",), "url", "http or https"),
        ({"url": "http://[broken"}, ("tiny",), "url", "address"),
        ({}, ("error-401",), "key", "key"),
        ({}, ("error-404",), "models", ""),
        ({}, ("two words",), "models", "not a model name"),
    ],
)
async def test_what_is_wrong_is_told_beside_its_field_and_nothing_is_kept(
    shelf: Shelf, form: dict[str, Any], names: tuple[str, ...], field: str, says: str
) -> None:
    with pytest.raises(BadInput) as refused:
        await shelf.add(*names, **form)
    assert refused.value.field == field
    assert says in str(refused.value)
    assert KEY not in str(refused.value)
    assert await shelf.backends.all() == []
    assert shelf.models.names() == []


async def test_a_public_name_is_given_once(shelf: Shelf) -> None:
    await shelf.add("tiny")
    with pytest.raises(BadInput, match="taken"):
        await shelf.add("other", "tiny", name="Other")
    assert [each.name for each in shelf.models.names()] == ["tiny"]


async def test_the_default_moves_on_when_its_backend_is_removed(shelf: Shelf) -> None:
    await shelf.add("first")
    await shelf.add("second", name="Second")
    first, second = shelf.models.names()
    assert first.is_default
    await shelf.models.set_default(second.id, by=shelf.owner)
    assert shelf.models.names()[0].name == "second"
    await shelf.backends.remove(second.places[0].backend_id, by=shelf.owner)
    assert [(each.name, each.is_default) for each in shelf.models.names()] == [("first", True)]


async def test_only_an_admin_changes_models(shelf: Shelf) -> None:
    ben, _ = await shelf.house.join("ben", by=shelf.owner)
    with pytest.raises(Forbidden):
        await shelf.add("tiny", by=ben)
    assert shelf.upstream.seen == []


def _open_to(shelf: Shelf, user: User) -> list[str]:
    return [each.name for each in shelf.models.names_for(user)]


async def test_a_name_leads_to_several_backends_in_order(shelf: Shelf) -> None:
    await shelf.add("first")
    await shelf.add("second", name="Second")
    one, two = (each.id for each in await shelf.backends.all())
    places = [Place(two, "large"), Place(one, "first")]
    await shelf.models.publish("best", places, context_window=64_000, max_tokens=4096, by=shelf.owner)
    route = shelf.directory.route("best", Caller("u-ada", bytes(32)))
    assert [(each.backend.name, each.upstream) for each in route.targets] == [("Second", "large"), ("Lab", "first")]
    await shelf.backends.remove(two, by=shelf.owner)
    assert [each.name for each in shelf.models.names()] == ["first", "best"], "one that leads elsewhere, too, stays"
    await shelf.backends.remove(one, by=shelf.owner)
    assert shelf.models.names() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "tiny"}, "name"),
        ({"name": "a,b"}, "name"),
        ({"places": ()}, "places"),
        ({"places": (Place("b-none", "x"),)}, "places"),
        ({"context_window": 10}, "context_window"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
async def test_what_is_wrong_with_a_name_is_told_beside_its_field(
    shelf: Shelf, changes: dict[str, Any], field: str
) -> None:
    await shelf.add("tiny", "other")
    before = shelf.models.names()
    other = next(each for each in before if each.name == "other")
    with pytest.raises(BadInput) as refused:
        await shelf.models.change(replace(other, **changes), Grants(), by=shelf.owner)
    assert refused.value.field == field
    await shelf.models.load()
    assert shelf.models.names() == before


async def test_a_name_is_open_to_whom_it_is_granted_and_follows_groups(shelf: Shelf) -> None:
    await shelf.add("tiny", "large")
    ben, _ = await shelf.house.join("ben", by=shelf.owner)
    cem, _ = await shelf.house.join("cem", by=shelf.owner)
    group = await shelf.groups.make("Design", {ben.id}, by=shelf.owner)
    large = next(each for each in shelf.models.names() if each.name == "large")
    woken = len(shelf.woken)
    grants = Grants(frozenset({shelf.owner.id}), frozenset({group.id}))
    await shelf.models.change(replace(large, is_open=False), grants, by=shelf.owner)
    assert len(shelf.woken) > woken, "runtimes' lists of models change"
    assert [_open_to(shelf, each) for each in (shelf.owner, ben, cem)] == [["tiny", "large"]] * 2 + [["tiny"]]
    with pytest.raises(Forbidden, match="no model 'large' for you"):
        shelf.directory.route("large", Caller(cem.id, bytes(32)))
    await shelf.groups.change(group.id, "Design", {cem.id}, by=shelf.owner)
    assert [_open_to(shelf, each) for each in (ben, cem)] == [["tiny"], ["tiny", "large"]]
    await shelf.groups.remove(group.id, by=shelf.owner)
    assert _open_to(shelf, cem) == ["tiny"]


async def test_a_backend_has_several_keys_each_tried_before_it_is_kept(shelf: Shelf) -> None:
    await shelf.add("tiny")
    (backend,) = await shelf.backends.all()
    ben, _ = await shelf.house.join("ben", by=shelf.owner)
    group = await shelf.groups.make("Design", {ben.id}, by=shelf.owner)
    theirs = "sk-of-the-design-group-0042"
    await shelf.backends.add_key(backend.id, theirs, name="Design's own", group_id=group.id, by=shelf.owner)
    assert shelf.upstream.seen[-1].authorization == f"Bearer {theirs}"
    (target,) = shelf.directory.route("tiny", Caller(ben.id, bytes(32))).targets
    assert [each and each.key for each in target.credentials_for(ben.id)] == [theirs]
    assert [each and each.key for each in target.credentials_for(shelf.owner.id)] == [KEY]
    (seen,) = await shelf.backends.shelves()
    assert [(each.name, each.hint, each.group_id) for each in seen.keys] == [
        ("", KEY[-4:], None),
        ("Design's own", "0042", group.id),
    ]
    shelf.upstream.scripts["tiny"] = Script(key=KEY)
    with pytest.raises(BadInput) as refused:
        await shelf.backends.add_key(backend.id, "sk-wrong", name="", group_id="", by=shelf.owner)
    assert refused.value.field == "key"
    await shelf.backends.remove_key(backend.id, seen.keys[0].id, by=shelf.owner)
    (target,) = shelf.directory.route("tiny", Caller(ben.id, bytes(32))).targets
    assert target.credentials_for(shelf.owner.id) == (), "another group's key is nobody else's"

"""Backends: tried with a real call, sealed, handed to the gateway; whatever is wrong is told beside its field."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from clawloops.control.models import BundledParts, Models
from clawloops.errors import BadInput, Forbidden, SealBroken
from clawloops.gateway.route import Caller, Directory
from clawloops.model.account import User
from clawloops.model.provider import BackendKind
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
    directory: Directory
    upstream: Upstream
    owner: User
    woken: list[bool]
    session: aiohttp.ClientSession

    async def add(
        self, *names: str, kind: BackendKind = BackendKind.OPENAI, by: User | None = None, **form: str
    ) -> None:
        fields = {"name": "Lab", "url": self.address, "provider": "", "key": KEY} | form
        await self.models.add_backend(kind=kind, names=names, by=by or self.owner, **fields)

    @property
    def address(self) -> str:
        return self.upstream.url.replace("127.0.0.1", "lab.test") + "/v1"

    def again(self, master: bytes) -> Models:
        """The services of a process started later, with this master key."""
        return Models(
            self.house.db, Sealer(master, install_id="0123abcd"), self.session, Directory(), self.house.audit,
            bundled=BundledParts("", "", ""), wake_all=lambda: None,
        )  # fmt: skip


MASTER = os.urandom(32)


@pytest.fixture
async def shelf(house: House) -> AsyncIterator[Shelf]:
    owner, _ = await house.join("ada")
    directory, woken = Directory(), list[bool]()
    async with (
        serve() as upstream,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Lan()), trust_env=False) as session,
    ):
        models = Models(
            house.db, Sealer(MASTER, install_id="0123abcd"), session, directory, house.audit,
            bundled=BundledParts(upstream.url, "", ""), wake_all=lambda: woken.append(True),
        )  # fmt: skip
        yield Shelf(house, models, directory, upstream, owner, woken, session)


async def test_a_backend_is_tried_sealed_and_open_to_the_gateway(shelf: Shelf) -> None:
    await shelf.add("tiny", f"key-{KEY}")
    target = shelf.directory.target("tiny", Caller("u-ada", bytes(32)))
    assert (target.key, target.model.is_default, target.backend.url) == (KEY, True, shelf.address)
    assert shelf.woken
    assert any(seen.authorization == f"Bearer {KEY}" for seen in shelf.upstream.seen)
    stored = "".join(str(dict(row)) for row in await shelf.house.db.fetch("SELECT * FROM credentials"))
    assert KEY not in stored
    assert KEY not in repr(target)


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
    assert await shelf.models.backends() == []
    assert shelf.models.names() == []


async def test_a_public_name_is_given_once(shelf: Shelf) -> None:
    await shelf.add("tiny")
    with pytest.raises(BadInput, match="taken"):
        await shelf.add("other", "tiny")
    assert [each.name for each in shelf.models.names()] == ["tiny"]


async def test_the_default_moves_on_when_its_backend_is_removed(shelf: Shelf) -> None:
    await shelf.add("first")
    await shelf.add("second", name="Second")
    first, second = shelf.models.names()
    assert first.is_default
    await shelf.models.set_default(second.id, by=shelf.owner)
    assert shelf.models.names()[0].name == "second"
    await shelf.models.remove_backend(second.backend_id, by=shelf.owner)
    assert [(each.name, each.is_default) for each in shelf.models.names()] == [("first", True)]


async def test_only_an_admin_changes_models(shelf: Shelf) -> None:
    ben, _ = await shelf.house.join("ben", by=shelf.owner)
    with pytest.raises(Forbidden):
        await shelf.add("tiny", by=ben)
    assert shelf.upstream.seen == []

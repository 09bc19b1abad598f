"""The library of a real Ollama: pulls that survive, imports, loads, contexts, and what fits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from clawloops.control.backends import Backends
from clawloops.control.connecting import BundledParts
from clawloops.control.library import Library
from clawloops.control.models import Models
from clawloops.control.prices import Prices
from clawloops.control.stock import Entry
from clawloops.errors import BadInput, Conflict, Forbidden, NotFound
from clawloops.gateway.health import Health
from clawloops.gateway.ollama import Ollama, reference
from clawloops.gateway.queue import Queue
from clawloops.gateway.route import Directory
from clawloops.model.account import User
from clawloops.model.fit import fit
from clawloops.model.library import PullState
from clawloops.model.provider import BackendKind
from clawloops.store.seal import Sealer
from tests.control.conftest import House
from tests.ollama import Line, Shelf, docker_client, gguf, ollama, pieces
from tests.registry import registry

__all__ = ["docker_client", "gguf", "ollama", "registry"]
MIB = 1024**2


class Shop:
    """The services that a library needs, over one Ollama."""

    def __init__(self, house: House, session: aiohttp.ClientSession, url: str, data: Path, owner: User) -> None:
        self.house, self.session, self.url, self.data, self.owner = house, session, url, data, owner
        self.kept: set[asyncio.Task[None]] = set()
        directory, health = Directory(), Health()
        sealer = Sealer(bytes(32), install_id="0123abcd")
        bundled = BundledParts(url, "", "")
        prices = Prices(house.db, house.audit, session, bundled)
        self.models = Models(house.db, sealer, directory, house.audit, prices=prices, wake_all=lambda: None)
        queue = Queue(weight_of=directory.weight_of)
        self.backends = Backends(
            house.db, sealer, session, self.models, health=health, queue=queue, audit=house.audit, bundled=bundled
        )
        self.library = Library(
            house.db, session, self.backends, self.models, house.audit, bundled=bundled, data=data, keep=self.keep
        )
        self.id = ""

    @property
    def connected(self) -> Shelf:
        return Shelf(self.library, self.session, self.url, self.id, self.owner)

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        self.kept.add(asyncio.create_task(work))

    async def connect(self) -> None:
        added = await self.backends.add(
            kind=BackendKind.OLLAMA, name="", url="", provider="", key="", names=(), by=self.owner
        )
        self.id = added.id

    async def entry(self, name: str) -> Entry | None:
        shelf = await self.library.shelf(self.id, by=self.owner)
        assert shelf.trouble == ""
        return next((each for each in shelf.entries if each.pulled.name == name), None)

    async def pulled(self) -> tuple[PullState, str]:
        """What came of the latest pull."""
        async with asyncio.timeout(60):
            while True:
                latest = (await self.library.shelf(self.id, by=self.owner)).progress[0]
                if latest.pull.ended_at:
                    return latest.pull.state, latest.pull.note
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        """As a process does that is ended."""
        for task in self.kept:
            task.cancel()
        await asyncio.gather(*self.kept, return_exceptions=True)


@pytest.fixture
async def shop(house: House, ollama: str, tmp_path: Path) -> AsyncIterator[Shop]:
    owner, _ = await house.join("ada")
    async with aiohttp.ClientSession(trust_env=False, auto_decompress=False) as session:
        api = Ollama(session, ollama)
        for each in await api.pulled():
            await api.remove(each.name)
        made = Shop(house, session, ollama, tmp_path / "imports", owner)
        await made.connect()
        yield made
        await made.end()


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():
            await asyncio.sleep(0.02)


@pytest.mark.docker
async def test_an_empty_ollama_is_connected_and_filled_by_an_import(shop: Shop, gguf: Path) -> None:
    assert shop.models.names() == []
    await shop.library.import_file(shop.id, "tiny", pieces(gguf.read_bytes()), by=shop.owner)
    entry = await shop.entry("tiny:latest")
    assert entry is not None
    assert entry.pulled.bytes > 3 * MIB
    assert (entry.shape.context, entry.shape.most_context, entry.shape.cache_bytes) == (0, 32_768, 2 * 16)
    assert entry.fit.fits and entry.fit.text.startswith("It fits: it needs 0.5 GiB of ")
    assert list(shop.data.glob("*")) == []
    await shop.library.offer(shop.id, "tiny:latest", by=shop.owner)
    (model,) = shop.models.names()
    assert (model.name, model.context_window, model.is_default) == ("tiny", 32_768, True)
    entry = await shop.entry("tiny:latest")
    assert entry is not None and entry.shape.context == 32_768
    with pytest.raises(Conflict, match="The name tiny leads to it"):
        await shop.library.remove(shop.id, "tiny:latest", by=shop.owner)


@pytest.mark.docker
async def test_a_model_is_loaded_unloaded_and_its_context_changed(shop: Shop, gguf: Path) -> None:
    await shop.library.import_file(shop.id, "tiny", pieces(gguf.read_bytes()), by=shop.owner)
    await shop.library.offer(shop.id, "tiny:latest", by=shop.owner)
    await shop.library.set_context(shop.id, "tiny:latest", 4096, by=shop.owner)
    assert (shop.models.names()[0].context_window, shop.models.names()[0].max_tokens) == (4096, 2048)
    await shop.library.load(shop.id, "tiny:latest", by=shop.owner)
    entry = await shop.entry("tiny:latest")
    assert entry is not None and entry.loaded is not None
    assert (entry.loaded.context, entry.shape.context) == (4096, 4096)
    assert entry.loaded.bytes > MIB and entry.fit.text.startswith("It is loaded")
    await shop.library.unload(shop.id, "tiny:latest", by=shop.owner)
    async with asyncio.timeout(10):
        while (entry := await shop.entry("tiny:latest")) is None or entry.loaded is not None:
            await asyncio.sleep(0.1)
    for tokens, why in ((0, "A context has"), (2047, "A context"), (10**9, "A context"), (65_536, "made for 32,768")):
        with pytest.raises(BadInput, match=why):
            await shop.library.set_context(shop.id, "tiny:latest", tokens, by=shop.owner)
    with pytest.raises(BadInput, match="not found"):
        await shop.library.unload(shop.id, "gone:latest", by=shop.owner)
    await shop.library.load(shop.id, "gone:latest", by=shop.owner)
    shelf = await shop.library.shelf(shop.id, by=shop.owner)
    assert "not found" in shelf.notes["gone:latest"]


@pytest.mark.docker
async def test_a_pull_tells_how_far_it_is_and_goes_on_over_a_restart(shop: Shop, registry: str, gguf: Path) -> None:
    await shop.connected.publish(registry, gguf, "team/tiny")
    async with Line(registry, shop.session).listening() as line:
        name = f"http://{line.address}/team/tiny"
        found = await shop.library.would_fit(shop.id, name, by=shop.owner)
        assert "0.0 GiB to pull. It fits" in found.text and found.fits and 3 * MIB < found.bytes < 4 * MIB
        line.passed = 0
        await shop.library.pull(shop.id, name, is_offered=True, by=shop.owner)
        with pytest.raises(Conflict, match="being pulled already"):
            await shop.library.pull(shop.id, name, is_offered=True, by=shop.owner)
        await _until(lambda: line.passed > 500_000)
        async with asyncio.timeout(30):
            while not (now := (await shop.library.shelf(shop.id, by=shop.owner)).progress[0]).total:
                await asyncio.sleep(0.05)
        assert 3 * MIB < now.total < 4 * MIB and now.completed < now.total and "pulling" in now.what
        await shop.end()
        again = Shop(shop.house, shop.session, shop.url, shop.data, shop.owner)
        again.id = shop.id
        await again.models.load()
        await again.library.resume()
        line.open.set()
        state, note = await again.pulled()
        public = f"{line.address}/team/tiny"
        assert (state, note) == (PullState.DONE, f"Members see it as {public}.")
        assert [each.name for each in again.models.names()] == [public]
        entry = await again.entry(f"{public}:latest")
        assert entry is not None and entry.shape.context == 32_768
        await again.library.set_context(again.id, f"{public}:latest", 4096, by=again.owner)
        await again.library.pull(again.id, name, is_offered=True, by=again.owner)
        assert await again.pulled() == (PullState.DONE, f"Members see it as {public}, as before.")
        entry = await again.entry(f"{public}:latest")
        assert entry is not None and entry.shape.context == again.models.names()[0].context_window == 4096
        await again.end()


@pytest.mark.docker
async def test_a_pull_is_cancelled_and_one_that_cannot_be_says_why(shop: Shop, registry: str, gguf: Path) -> None:
    await shop.connected.publish(registry, gguf, "team/tiny")
    async with Line(registry, shop.session).listening() as line:
        pull = await shop.library.pull(shop.id, f"http://{line.address}/team/tiny", is_offered=False, by=shop.owner)
        await _until(lambda: line.passed > 500_000)
        await shop.library.cancel(pull.id, by=shop.owner)
        assert await shop.pulled() == (PullState.CANCELLED, "")
        line.open.set()
        await shop.library.pull(shop.id, f"http://{line.address}/team/none", is_offered=True, by=shop.owner)
        state, note = await shop.pulled()
        assert (state, "file does not exist" in note or "not found" in note or "unknown" in note) == (
            PullState.FAILED,
            True,
        ), note
        with pytest.raises(BadInput, match="No registry is at this address"):
            await shop.library.would_fit(shop.id, "http://169.254.169.254:80/team/tiny", by=shop.owner)
        with pytest.raises(BadInput, match="There is no model"):
            await shop.library.would_fit(shop.id, f"http://{line.address}/team/none", by=shop.owner)


@pytest.mark.docker
async def test_files_that_are_none_are_refused_and_leave_nothing(shop: Shop) -> None:
    for content in (b"MZ" + bytes(1000), b"GGUF", b"GGUF" + bytes(1000)):
        with pytest.raises(BadInput, match="no GGUF"):
            await shop.library.import_file(shop.id, "odd", pieces(content), by=shop.owner)
    assert list(shop.data.glob("*")) == []
    assert await shop.entry("odd:latest") is None


@pytest.mark.docker
async def test_only_admins_and_only_an_ollama(shop: Shop) -> None:
    ben, _ = await shop.house.join("ben", by=shop.owner)
    with pytest.raises(Forbidden):
        await shop.library.shelf(shop.id, by=ben)
    with pytest.raises(NotFound):
        await shop.library.shelf("gone", by=shop.owner)


@pytest.mark.parametrize(
    ("text", "name", "manifest"),
    [
        ("qwen3:8b", "qwen3:8b", "https://registry.ollama.ai/v2/library/qwen3/manifests/8b"),
        (" tiny ", "tiny", "https://registry.ollama.ai/v2/library/tiny/manifests/latest"),
        ("me/tiny", "me/tiny", "https://registry.ollama.ai/v2/me/tiny/manifests/latest"),
        ("hf.co/u/m:Q4_K_M", "hf.co/u/m:Q4_K_M", "https://hf.co/v2/u/m/manifests/Q4_K_M"),
        ("http://10.0.0.5:5000/a/b", "10.0.0.5:5000/a/b", "http://10.0.0.5:5000/v2/a/b/manifests/latest"),
    ],
)
def test_names_are_read_as_ollama_reads_them(text: str, name: str, manifest: str) -> None:
    found = reference(text)
    assert (found.name, found.manifest) == (name, manifest)


@pytest.mark.parametrize("text", ["", "a b", "../x", "x/../y", "a/b/c/d", "-x", "file:///etc/passwd", "é", "a" * 300])
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="Give a name"):
        reference(text)


def test_what_fits_is_said_with_what_has_to_go() -> None:
    gib = 1024**3
    assert not fit("m", gib, 0, 0, {}).is_known
    assert fit("m", 4 * gib, gib, 8 * gib, {}).text == "It fits: it needs 5.5 GiB of 8.0 GiB."
    assert fit("m", 9 * gib, gib, 8 * gib, {}).text.startswith("It needs 10.5 GiB of 8.0 GiB: a part of it")
    tight = fit("m", 4 * gib, gib, 8 * gib, {"a": 2 * gib, "b": 4 * gib})
    assert (tight.fits, tight.text) == (True, "It fits (5.5 GiB) once b is unloaded for it.")
    assert fit("m", 4 * gib, gib, 8 * gib, {"m": 5 * gib}).text == "It is loaded, with 5.0 GiB."

"""The pages of models: names with their places and grants, keys of backends, and groups of members."""

from __future__ import annotations

import asyncio
import time

import pytest

from clawloops.bench.peers import free_port
from clawloops.clock import now_ms
from clawloops.model.account import Role
from clawloops.model.provider import Backend, BackendKind, Model, Place
from clawloops.model.usage import Tokens
from clawloops.store import backends, models, usage
from tests.store import rows
from tests.web import scenes
from tests.web.box import Box, serve
from tests.web.shop import Shop
from tests.web.test_account import joined


@pytest.fixture
async def admin(box: Box) -> str:
    """Signed in, with two backends and a name for each."""
    session, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    for number, name in enumerate(("small", "large")):
        made = Backend(f"b{number}", f"Lab {number}", BackendKind.OLLAMA, f"http://lab{number}.test", "", number)
        await backends.add(box.db, made)
        await models.add(box.db, Model(f"m{number}", name, (Place(made.id, name),), 32_768, 4096, number == 0, 1))
    await box.models.load()
    return session


async def test_a_name_is_added_changed_and_shown_with_where_it_leads(box: Box, admin: str) -> None:
    made = await box.send_rows("/models/names", admin, [("name", "best"), ("backend", "b1"), ("upstream", "large"),
        ("backend", "b0"), ("upstream", ""), ("for", "name")])  # fmt: skip
    assert made.status == 303
    name = next(each for each in box.models.names() if each.name == "best")
    assert made.headers["Location"] == f"/models/names/{name.id}"
    assert (name.places, name.context_window) == ((Place("b1", "large"),), 32_768)
    linus = await box.member("linus")
    changed = await box.send_rows(
        f"/models/names/{name.id}",
        admin,
        [("name", "best"), ("backend", "b1"), ("upstream", "large"), ("backend", "b0"), ("upstream", "small"),
         ("open", "some"), ("users", linus.id), ("context_window", "64,000"), ("max_tokens", "4096")],
    )  # fmt: skip
    assert changed.status == 303
    name = box.models.get(name.id)
    assert (name.places, name.context_window, name.is_open) == (
        (Place("b1", "large"), Place("b0", "small")),
        64_000,
        False,
    )
    page = await (await box.page("/models", admin)).text()
    assert "Lab 1 as large, else Lab 0 as small" in page and "not for everybody" in page
    theirs, _ = await box.signed_in(linus)
    others, _ = await box.signed_in(await box.member("mia"))
    assert "best" in await (await box.page("/keys", theirs)).text()
    assert "best" not in await (await box.page("/keys", others)).text()
    assert "best" not in await (await box.page("/", others)).text()


async def test_a_backend_shows_how_fast_it_has_answered(box: Box, admin: str) -> None:
    for first_ms, total_ms in ((500, 2500), (1500, 3500)):
        call = rows.call(at=now_ms(), backend_id="b0", tokens=Tokens(output=80), first_ms=first_ms, total_ms=total_ms)
        await usage.settle(box.db, [call], log="other", offset=0)
    page = " ".join((await (await box.page("/models", admin)).text()).split())
    assert "In the last 24 hours 2 answers, begun after 1.0 s, then 40 tokens a second (on average)." in page
    assert page.count("In the last 24 hours") == 1


async def test_a_refused_name_keeps_what_was_typed_and_says_what_is_wrong(box: Box, admin: str) -> None:
    fields = [("name", "small"), ("backend", "b1"), ("upstream", "very-large"), ("open", "some"),
        ("context_window", "9000"), ("max_tokens", "12")]  # fmt: skip
    refused = await box.send_rows("/models/names/m1", admin, fields)
    text = await refused.text()
    assert refused.status == 400
    assert "This name is taken" in text and 'value="very-large"' in text and 'value="9000"' in text
    fields[4] = ("context_window", "lots")
    text = await (await box.send_rows("/models/names/m1", admin, fields)).text()
    assert "Give a number of tokens" in text
    text = await (await box.send_rows("/models/names", admin, [("name", "x"), ("for", "name")])).text()
    assert "Give 1 to 5 places" in text
    assert (await box.page("/models/names/m-none", admin)).status == 404


async def test_a_backend_that_does_not_answer_is_shown_as_that(box: Box, admin: str) -> None:
    assert "does not answer" not in await (await box.page("/models", admin)).text()
    for _ in range(6):
        box.health.failed("b0", "Connection refused", time.monotonic(), at=now_ms())
    page = await (await box.page("/models", admin)).text()
    assert "does not answer" in page and "Connection refused" in page


async def test_calls_at_once_are_set_and_a_busy_backend_shows_who_waits(box: Box, admin: str) -> None:
    assert (
        await box.send("/models/backends/b0/load", admin, slots="1", watts="300", **{"load-of": "b0"})
    ).status == 303
    refused = await box.send("/models/backends/b0/load", admin, slots="many", **{"load-of": "b0"})
    assert (refused.status, "Give a number; 0 lets all" in await refused.text()) == (400, True)
    backend = box.backends.lines(by=box.accounts.members()[0])[0].backend
    assert (backend.slots, backend.watts) == (1, 300)
    mia = await box.member("mia")
    seat = await box.queue.enter(backend, mia.id, "small", is_background=False)
    waiting = [asyncio.create_task(box.queue.enter(backend, mia.id, "small", is_background=True)) for _ in range(2)]
    await asyncio.sleep(0)
    page = await (await box.page("/box", admin)).text()
    assert "Calls to Lab 0" in page and "1 of 1 at once" in page and "its turn in about 16 s" in page
    theirs, _ = await box.signed_in(mia)
    assert "2 calls of yours wait" in await (await box.page("/", theirs)).text()
    assert "calls of yours" not in await (await box.page("/", admin)).text()
    for each in waiting:
        each.cancel()
    assert seat is not None
    seat.leave()


async def test_groups_are_made_changed_and_removed(box: Box, admin: str) -> None:
    linus = await box.member("linus")
    assert (await box.send("/members/groups", admin, group="Design", members=linus.id)).status == 303
    (group,) = await box.groups.all()
    assert (group.name, group.members) == ("Design", frozenset({linus.id}))
    again = await box.send("/members/groups", admin, group="Design", members=linus.id)
    text = await again.text()
    assert (again.status, "There is a group of this name" in text) == (400, True)
    assert f'value="{linus.id}" checked' in text, "what was chosen is kept"
    changed = await box.send(f"/members/groups/{group.id}", admin, group="Art", weight="3")
    assert changed.status == 303
    (group,) = await box.groups.all()
    assert (group.name, group.members, group.weight) == ("Art", frozenset(), 3)
    assert f'<a href="/members/groups/{group.id}">Art</a>' in await (await box.page("/members", admin)).text()
    assert 'value="Art"' in await (await box.page(f"/members/groups/{group.id}", admin)).text()
    assert (await box.page("/members/groups/g-gone", admin)).status == 404
    assert (await box.send(f"/members/groups/{group.id}/remove", admin)).status == 303
    assert await box.groups.all() == []


async def test_the_library_of_an_ollama_that_does_not_answer_says_so_and_its_forms_keep_what_was_typed(
    box: Box, admin: str
) -> None:
    assert "/models/library/b0" in await (await box.page("/models", admin)).text()
    page = await (await box.page("/models/library/b0", admin)).text()
    assert "Ollama does not answer" in page and "It could not be asked" in page
    refused = await box.send("/models/library/b0/pull", admin, model="no such name", do="pull", **{"for": "pull"})
    text = await refused.text()
    assert refused.status == 400
    assert "Give a name as Ollama" in text and 'value="no such name"' in text
    refused = await box.send("/models/library/b0/load", admin, model="tiny")
    assert refused.status == 303
    assert (await box.page("/models/library/gone", admin)).status == 404
    assert (await box.send("/models/library/b0/pull", admin, model="tiny", offer="on", do="pull")).status == 303
    page = await (await box.page("/models/library/b0", admin)).text()
    assert "under way" in page and "It begins" in page
    pulls = (await box.library.shelf("b0", by=box.accounts.members()[0])).progress
    assert (await box.send(f"/models/library/b0/pulls/{pulls[0].pull.id}/cancel", admin)).status == 303
    assert "cancelled" in await (await box.page("/models/library/b0", admin)).text()


async def test_the_library_names_whom_a_loaded_model_answers(box: Box) -> None:
    owner = await joined(box, "olga", Role.OWNER)
    token, _ = await box.signed_in(owner)
    shop = await serve(Shop().app(), free_port())
    await scenes.with_models(box, f"http://127.0.0.1:{shop.addresses[0][1]}")
    await box.backends.set_load("b1", slots=1, watts=350, memory_mb=24_576, by=owner)
    await box.member("linus")
    calling = [
        asyncio.create_task(box.queue.enter(await box.backends.get("b1"), person.id, "qwen3:8b", is_background=False))
        for person in box.accounts.members()
    ]
    page = ""
    for _ in range(50):  # Ollama is asked behind the page
        page = await (await box.page("/models/library/b1", token)).text()
        if "on the GPU" in page:
            break
        await asyncio.sleep(0.1)
    assert "on the GPU · answers Olga</p>" in page, "and Linus waits"
    for each in calling:
        each.cancel()
    await asyncio.gather(*calling, return_exceptions=True)

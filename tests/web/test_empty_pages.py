"""Never an empty page without the next step on it: every page of a box in which nothing was done yet."""

from __future__ import annotations

import re

import pytest

from clawloops.model.account import Role, User
from clawloops.model.provider import Backend, BackendKind
from clawloops.model.runtime import Phase
from clawloops.store import backends
from clawloops.web.routes import DASHBOARD, For
from tests.web import scenes
from tests.web.box import Box

NO_PAGE = {"/audit.csv", "/usage.csv", "/handover", "/account/passkeys/options", "/confirm/passkey"}
PAGES = [
    (route.path, route.access)
    for route in DASHBOARD
    if route.method == "GET" and route.access is not For.ANYBODY
    if route.path not in NO_PAGE and not re.search(r"{|/(live|now)$", route.path)
]
WAY_BACK = '<a href="/first-run">Back to the first steps</a>'


@pytest.fixture
async def olga(box: Box) -> User:
    return await box.member("olga", Role.OWNER)


async def _main(box: Box, path: str, by: User) -> str:
    token, _ = await box.signed_in(by)
    reply = await box.page(path, token)
    while reply.status == 303:
        reply = await box.page(reply.headers["Location"].split("#")[0], token)
    text = await reply.text()
    return text[text.index("<main") : text.index("</main>")].replace(WAY_BACK, "")


@pytest.mark.parametrize(("path", "access"), PAGES)
async def test_every_page_of_an_empty_box_leads_on(box: Box, olga: User, path: str, access: For) -> None:
    for each in [olga] if access is For.ADMIN else [olga, await box.member("mia")]:
        page = await _main(box, path, each)
        assert re.search(r'<a [^>]*href="/|<form [^>]*method="post"', page), f"{each.login} is stuck at {path}"


def test_the_list_of_pages_is_read_off_the_table() -> None:
    assert {path for path, _ in PAGES} >= {
        "/", "/first-run", "/workspace/files", "/workspace/history", "/workspace/internet", "/keys", "/usage",
        "/models", "/members", "/budgets", "/box", "/box/internet", "/audit", "/account", "/account/tokens",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/keys", '<a class="button" href="/models">Connect a model</a>'),
        ("/usage", '<a href="/keys">make a key</a>'),
        ("/budgets", "None is set yet"),
        ("/box", '<a href="/members">invite somebody</a>'),
        ("/audit?words=nothing-like-it", '<a href="/audit">Show everything</a>'),
        ("/workspace/internet", '<a href="/">Open your workspace</a>'),
        ("/models", "Check and connect"),
        ("/members", "Make an invitation link"),
        ("/account/tokens", "Make a token"),
    ],
)
async def test_an_empty_list_names_what_fills_it(box: Box, olga: User, path: str, says: str) -> None:
    assert says in await _main(box, path, olga)


async def test_who_has_no_model_is_told_whose_turn_it_is(box: Box, olga: User) -> None:
    mia = await box.member("mia")
    for path in ("/", "/keys"):
        assert "Ask Olga to connect one." in await _main(box, path, mia)
    await scenes.with_models(box)
    for model in box.models.names():
        await box.db.execute("UPDATE models SET is_open = $1 WHERE id = $2", 0, model.id)
    await box.models.load()
    for path in ("/", "/keys"):
        page = await _main(box, path, mia)
        assert "No model is open to you" in page and "Ask Olga to open one to you." in page
        assert "Look at Models" in await _main(box, path, olga)


async def test_a_backend_without_a_name_can_be_given_one(box: Box, olga: User) -> None:
    await backends.add(box.db, Backend("b1", "Lab", BackendKind.OPENAI, "http://lab.test/v1", "", 1))
    page = await _main(box, "/models", olga)
    assert "There is no name yet" in page and 'action="/models/names"' in page
    page = await _main(box, "/first-run/model", olga)
    assert "no name leads to it" in page and '<a class="button primary" href="/models">Add a name</a>' in page


async def test_a_new_workspace_has_files_and_history_that_lead_on(box: Box, olga: User) -> None:
    await box.workspace(olga, Phase.STOPPED)
    assert "Take one below" in await _main(box, "/workspace/files", olga)
    assert "Back to the workspace" in await _main(box, "/workspace/history", olga)

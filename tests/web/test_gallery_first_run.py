"""The first steps of a box in a real browser, one after the other, kept as screenshots."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser

from clawloops.bench.peers import free_port
from clawloops.model.account import Role
from tests.web import scenes
from tests.web.box import Box, serve
from tests.web.desk import browser
from tests.web.drawing import drawing, reading
from tests.web.shop import Shop
from tests.web.test_account import joined
from tests.web.test_second_step import with_app
from tests.web.tools import tools_door

__all__ = ["browser"]

pytestmark = pytest.mark.browser


@pytest.mark.limit(600)
async def test_the_first_steps_are_drawn_from_nothing_to_all_done(box: Box, browser: Browser, artifacts: Path) -> None:
    olga = await joined(box, "olga", Role.OWNER)
    folder = artifacts / "pages"
    folder.mkdir(exist_ok=True)
    draw = drawing(box, browser, olga, folder)
    shop = await serve(Shop().app(), free_port())
    address = f"http://127.0.0.1:{shop.addresses[0][1]}"
    await draw("03-first-run", "/first-run")
    await draw("03-first-run-model", "/first-run/model")
    await draw("03-first-run-link", "/first-run/invite", go=scenes.sending("/first-run/invite"))
    empty = await scenes.with_an_empty_ollama(box, address)
    await draw("04-first-run-pull", "/first-run/model")
    await box.library.pull(empty.id, "qwen3:14b", is_offered=True, by=olga)
    await draw("04-first-run-arriving", "/first-run/model", go=reading("3.6 GiB"))
    await box.backends.remove(empty.id, by=olga)
    await scenes.with_models(box, address)
    await draw("04-first-run-no-answer", "/first-run/model", go=scenes.sending("/first-run/model/try"))
    async with tools_door(box):
        await draw("04-first-run-answer", "/first-run/model", go=scenes.sending("/first-run/model/try"))
    await draw("04-first-run-settled", "/first-run")
    await with_app(box, olga)
    await draw("04-first-run-over", "/first-run")
    await shop.cleanup()

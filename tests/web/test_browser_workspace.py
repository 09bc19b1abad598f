"""A workspace's pages in a real browser: what is typed survives an update, a file is sent, history grows."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from playwright.async_api import expect

from clawloops.clock import now_ms
from clawloops.model.account import User
from clawloops.model.runtime import Phase, Runtime, View
from clawloops.model.workspace import JobState, Task
from clawloops.store import events, jobs
from clawloops.store import volumes as rows
from tests.runtimes.test_hostile_files import ROOT, entry, whole
from tests.web.box import Box
from tests.web.desk import Desk, browser, desk

__all__ = ["browser", "desk"]
pytestmark = pytest.mark.browser


async def _mine(box: Box) -> tuple[User, Runtime]:
    mia = await box.member("mia")
    return mia, await rows.used(box.db, await box.workspace(mia), image="img", now=now_ms())


async def test_what_is_typed_and_opened_survives_an_update_of_the_page(box: Box, desk: Desk) -> None:
    mia, runtime = await _mine(box)
    number = await rows.begin(box.db, runtime.id, note="before", image="img", now=now_ms())
    await rows.keep_as_snapshot(box.db, runtime.id, number, size=5)
    await desk.sign_in(mia)
    page = await desk.context.new_page()
    await page.goto(box.site.origin + "/workspace/files")
    await page.get_by_text("Give a copy…").click()
    await page.get_by_label("Login of another member").fill("gra")
    await box.workspaces.snapshot(runtime.id, "and another", by=mia)
    box.board.tell(runtime.id)
    await expect(page.get_by_text("Under way and lately done")).to_be_visible()
    await expect(page.get_by_label("Login of another member")).to_have_value("gra")
    await expect(page.get_by_label("Login of another member")).to_be_focused()
    desk.expect_complaints("status of 400")
    await page.get_by_role("button", name="Give a copy", exact=True).click()
    note = page.get_by_text("There is no member 'gra' to give it to.")
    await expect(note).to_be_visible()
    (job,) = await jobs.open_(box.db)
    await jobs.note(box.db, job.id, JobState.FAILED, "the disk is full", now=now_ms())
    box.board.tell(runtime.id)
    await expect(page.get_by_text("The disk is full.")).to_be_visible()
    await expect(note).to_be_visible()
    await expect(page.get_by_label("Login of another member").first).to_have_value("gra")


async def test_a_file_is_sent_by_the_browsers_own_form(box: Box, desk: Desk, tmp_path: Path) -> None:
    mia, _ = await _mine(box)
    file = tmp_path / "mine.clawloops.tar.gz"
    file.write_bytes(whole(ROOT, entry("workspace/notes", content=secrets.token_bytes(5_000_000))))
    await desk.sign_in(mia)
    page = await desk.context.new_page()
    await page.goto(box.site.origin + "/workspace/files")
    await page.get_by_label("File", exact=True).set_input_files(file)
    await page.get_by_role("button", name="Import the file").click()
    await expect(page.locator("[data-job=pending]")).to_contain_text("Import")
    (job,) = await jobs.open_(box.db)
    assert job.task is Task.IMPORT
    await jobs.note(box.db, job.id, JobState.FAILED, "the file is damaged", now=now_ms())
    await expect(page.locator("[data-job=failed]")).to_contain_text("The file is damaged.")


async def test_the_history_grows_under_the_readers_eyes(box: Box, desk: Desk) -> None:
    mia, runtime = await _mine(box)
    await desk.sign_in(mia)
    page = await desk.context.new_page()
    await page.goto(box.site.origin + "/workspace")
    await expect(page.locator(".history li")).to_have_count(1)
    await events.add(box.db, runtime.id, at=now_ms(), kind="pause", text="it was frozen", took_ms=19)
    box.board.put(View(runtime.id, Phase.READY, "", "127.0.0.1", now_ms(), why="A turn is running."))
    await expect(page.locator(".history li").first).to_contain_text("It was frozen.")
    await expect(page.locator(".history li").first).to_contain_text("19 ms")
    await expect(page.locator("#why")).to_have_text("A turn is running.")
    await expect(page.locator(".history time").first).not_to_contain_text("UTC")


async def test_everything_is_reached_by_keyboard(box: Box, desk: Desk) -> None:
    mia, _ = await _mine(box)
    await desk.sign_in(mia)
    page = await desk.context.new_page()
    await page.goto(box.site.origin + "/workspace")
    reached = []
    for _ in range(30):
        await page.keyboard.press("Tab")
        reached.append(await page.evaluate("document.activeElement.innerText || document.activeElement.name"))
    for each in ("Open workspace", "Stop", "Restart", "policy", "sleeps_despite_polling", "Save settings", "Switch on"):
        assert each in reached, f"{each} is not reached by Tab: {reached}"

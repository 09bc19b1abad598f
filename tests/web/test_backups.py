"""Backups on the page of the box and in the JSON API."""

from __future__ import annotations

from clawloops.model.account import Role
from clawloops.model.backup import Reason, name_of
from tests.web.api.program import admin
from tests.web.box import Box
from tests.web.test_account import joined


async def test_an_admin_makes_one_and_removes_it(box: Box) -> None:
    token, _ = await box.signed_in(await joined(box, "olga", Role.OWNER))
    page = await (await box.page("/box", token)).text()
    assert "There is none yet" in page and "backup restore" not in page
    assert (await box.send("/box/backups", token)).headers["Location"] == "/box#backups-title"
    (made,) = await box.backups.all(by=(await joined(box, "ada", Role.ADMIN)))
    page = await (await box.page("/box", token)).text()
    assert f"clawloops backup restore {made.name}" in page and "Asked for" in page
    remove = f"/box/backups/{made.name}/remove"
    assert remove in page
    assert (await box.send(remove, token)).status == 303
    assert (await box.send(remove, token)).status == 404
    assert (await box.send("/box/backups/..%2Ftest.db/remove", token)).status == 404
    assert [each.action for each in await box.audit.latest()][:2] == ["backup removed", "backup made"]


async def test_a_viewer_sees_them_and_has_no_buttons(box: Box) -> None:
    await box.backups.make(by=await joined(box, "olga", Role.OWNER))
    vic, _ = await box.signed_in(await box.member("vic", Role.VIEWER))
    page = await (await box.page("/box", vic)).text()
    assert "Asked for" in page and 'action="/box/backups' not in page


async def test_a_program_lists_them_page_by_page_makes_one_and_removes_it(box: Box) -> None:
    call = await admin(box)
    made = (await call("POST", "/box/backups")).body
    assert (made["reason"], made["size"] > 0) == (Reason.ASKED, True)
    folder = box.backups._folder
    for day in range(3):
        (folder / name_of("test", Reason.DAILY, 1_800_000_000_000 - day * 86_400_000)).write_bytes(b"1")
    first = (await call("GET", "/box/backups?limit=2")).body
    rest = (await call("GET", f"/box/backups?limit=2&cursor={first['next_cursor']}")).body
    names = [each["name"] for each in (*first["items"], *rest["items"])]
    every = [each.name for each in await box.backups.all(by=call.user)]
    assert names == every and len(every) == 4 and rest["next_cursor"] is None
    assert (await call("DELETE", f"/box/backups/{made['name']}")).status == 204
    assert (await call("DELETE", f"/box/backups/{made['name']}")).status == 404
    assert (await call("DELETE", "/box/backups/..%2F..%2Fx.db")).status in (404, 422)


async def test_what_is_in_the_way_is_told(box: Box) -> None:
    token, _ = await box.signed_in(await joined(box, "olga", Role.OWNER))
    box.backups._folder.write_text("in the way")
    refused = await box.send("/box/backups", token)
    assert refused.status == 503 and "cannot be made" in await refused.text()
    assert (await box.page("/box", token)).status == 200

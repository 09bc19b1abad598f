"""The page of a workspace's files: wishes wait for the keeper, uploads stream, and nobody reaches those of others."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import aiohttp
import pytest

from clawloops.clock import now_ms
from clawloops.model.account import Role, User
from clawloops.model.runtime import Runtime
from clawloops.model.workspace import Job, JobState, Kind, Task
from clawloops.runtimes import parcel
from clawloops.store import jobs
from clawloops.store import volumes as rows
from clawloops.web import cookies
from clawloops.web.routes import DASHBOARD
from tests.runtimes.test_hostile_files import ROOT, entry, whole
from tests.web.box import NAVIGATE, Box

FILES = "/workspace/files"


async def _mine(box: Box, login: str = "mia") -> tuple[User, Runtime, str]:
    user = await box.member(login)
    runtime = await rows.used(box.db, await box.workspace(user), image="img", now=now_ms())
    return user, runtime, (await box.signed_in(user))[0]


async def _snapshot(box: Box, runtime: Runtime, note: str = "before <b>") -> int:
    number = await rows.begin(box.db, runtime.id, note=note, image="img", now=now_ms())
    await rows.keep_as_snapshot(box.db, runtime.id, number, size=3_400_000)
    return number


async def _waiting(box: Box) -> list[tuple[Task, str]]:
    return [(each.task, each.argument) for each in await jobs.open_(box.db)]


async def _upload(box: Box, token: str, fields: list[tuple[str, bytes, str | None]], **headers: str) -> int:
    """A form with a file as a browser sends it, in the order of `fields` (name, content, file name)."""
    body = b""
    for name, content, filename in fields:
        named = f'; filename="{filename}"' if filename else ""
        body += f'--cut\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"
    sent = {
        **NAVIGATE,
        "Origin": box.site.origin,
        "Sec-Fetch-Site": "same-origin",
        "Cookie": f"{cookies.SESSION}={token}",
        "Content-Type": "multipart/form-data; boundary=cut",
        **headers,
    }
    reply = await box.ask("POST", f"{FILES}/import", headers=sent, data=body + b"--cut--\r\n")
    return reply.status


async def test_what_is_asked_for_waits_for_the_keeper(box: Box) -> None:
    _, runtime, token = await _mine(box)
    number = await _snapshot(box, runtime)
    page = await (await box.page(FILES, token)).text()
    assert "before &lt;b&gt;" in page and "3.2 MiB" in page and "1 of 10" in page
    assert (await box.send(f"{FILES}/snapshot", token, note="by hand")).headers["Location"] == FILES
    assert (await box.send(f"{FILES}/restore", token, number=str(number))).status == 303
    assert (await box.send(f"{FILES}/export", token)).status == 303
    assert (await box.send(f"{FILES}/reset", token)).status == 303
    assert await _waiting(box) == [
        (Task.SNAPSHOT, "by hand"), (Task.RESTORE, str(number)), (Task.EXPORT, ""), (Task.RESET, "")
    ]  # fmt: skip
    page = await (await box.page(FILES, token)).text()
    cancel = re.findall(rf'action="({FILES}/jobs/j[0-9a-f]+/cancel)"', page)
    assert len(cancel) == 4
    for each in cancel:
        assert (await box.send(each, token)).status == 303
    assert await _waiting(box) == []


async def test_a_deleted_snapshot_lies_in_the_trash_and_can_be_restored(box: Box) -> None:
    _, runtime, token = await _mine(box)
    number = await _snapshot(box, runtime, "old")
    assert (await box.send(f"{FILES}/trash", token, number=str(number))).status == 303
    page = await (await box.page(FILES, token)).text()
    assert "Removed in 7 days" in page and "0 of 10" in page
    assert (await box.send(f"{FILES}/restore", token, number=str(number))).status == 303
    assert await _waiting(box) == [(Task.RESTORE, str(number))]
    assert (await box.send(f"{FILES}/restore", token, number="99")).status == 404
    assert (await box.send(f"{FILES}/restore", token, number="1; DROP")).status == 400


async def test_a_copy_is_given_to_a_member_and_a_mistyped_login_is_told_on_the_page(box: Box) -> None:
    _, runtime, token = await _mine(box)
    ben, theirs, _ = await _mine(box, "ben")
    number = await _snapshot(box, runtime)
    assert (await box.send(f"{FILES}/give", token, number=str(number), to="ben")).status == 303
    (job,) = await jobs.open_(box.db)
    assert (job.task, job.runtime_id, ben.id) == (Task.CLONE, theirs.id, theirs.owner)
    refused = await box.send(f"{FILES}/give", token, number=str(number), to="nobody")
    assert refused.status == 400 and "There is no member" in await refused.text()


async def test_a_file_larger_than_any_form_is_taken_as_it_comes(box: Box, tmp_path: Path) -> None:
    _, runtime, token = await _mine(box)
    content = whole(ROOT, entry("workspace/notes", content=secrets.token_bytes(300_000)))
    csrf = cookies.csrf_of(token).encode()
    assert await _upload(box, token, [("csrf", csrf, None), ("file", content, "w.tar.gz")]) == 303
    (job,) = await jobs.open_(box.db)
    assert (job.task, job.runtime_id) == (Task.IMPORT, runtime.id)
    assert parcel.path(str(tmp_path), job.id).read_bytes() == content


async def test_what_is_no_export_is_refused_on_the_page_and_leaves_nothing_behind(box: Box, tmp_path: Path) -> None:
    _, _, token = await _mine(box)
    csrf = ("csrf", cookies.csrf_of(token).encode(), None)
    assert await _upload(box, token, [csrf, ("file", b"not a file of ours" * 10_000, "x.gz")]) == 400
    assert await _upload(box, token, [csrf, ("file", b"", "")]) == 400
    assert await _upload(box, token, [csrf]) == 400
    assert await _waiting(box) == []
    assert not list((tmp_path / "parcels").glob("*"))


@pytest.mark.attacks(11, 20)
async def test_an_upload_without_our_token_first_is_not_read(box: Box, tmp_path: Path) -> None:
    _, _, token = await _mine(box)
    csrf = ("csrf", cookies.csrf_of(token).encode(), None)
    file = ("file", b"x" * 100_000, "x.gz")
    assert await _upload(box, token, [file]) == 403
    assert await _upload(box, token, [file, csrf]) == 403
    assert await _upload(box, token, [("csrf", b"0" * 64, None), file]) == 403
    assert await _upload(box, token, [("csrf", b"0" * 100_000, None), file]) == 403
    assert await _upload(box, token, [csrf, file], Origin="https://evil.example") == 403
    assert await _upload(box, token, [csrf, file], **{"Sec-Fetch-Site": "same-site"}) == 403
    assert await _upload(box, token, [csrf, file], Cookie="") == 403
    assert not (tmp_path / "parcels").exists()


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=other"])
async def test_a_form_that_cannot_be_read_is_refused(box: Box, kind: str) -> None:
    _, _, token = await _mine(box)
    csrf = ("csrf", cookies.csrf_of(token).encode(), None)
    assert await _upload(box, token, [csrf], **{"Content-Type": kind}) == 400


@pytest.mark.attacks(11)
async def test_a_form_with_a_file_is_taken_at_one_address_only(box: Box) -> None:
    _, _, token = await _mine(box)
    form = aiohttp.FormData()
    form.add_field("csrf", cookies.csrf_of(token))
    form.add_field("file", b"x", filename="x.gz")
    headers = {"Origin": box.site.origin, "Cookie": f"{cookies.SESSION}={token}"}
    assert (await box.ask("POST", f"{FILES}/reset", headers=headers, data=form)).status == 400


async def test_the_file_of_an_export_is_downloaded_by_its_owner_alone(box: Box, tmp_path: Path) -> None:
    mia, runtime, token = await _mine(box)
    _, _, bens = await _mine(box, "ben")
    admins, _ = await box.signed_in(await box.member("olga", Role.ADMIN))
    job = Job("j" + "0" * 16, runtime.id, Task.EXPORT, "", JobState.PENDING, "", mia.id, now_ms(), 0)
    await jobs.add(box.db, job)
    path = parcel.path(str(tmp_path), job.id)
    path.parent.mkdir()
    path.write_bytes(b"the file")
    address = f"{FILES}/exports/{job.id}"
    assert (await box.page(address, token)).status == 404, "it is not done yet"
    await jobs.note(box.db, job.id, JobState.DONE, "8 bytes", now=now_ms())
    assert address in await (await box.page(FILES, token)).text()
    reply = await box.page(address, token)
    assert (reply.status, await reply.read()) == (200, b"the file")
    assert reply.headers["Content-Disposition"] == f'attachment; filename="{runtime.slug}.clawloops.tar.gz"'
    assert reply.headers["X-Content-Type-Options"] == "nosniff" and reply.headers["Cache-Control"] == "no-store"
    assert (await box.page(address, bens)).status == 404
    assert (await box.page(address, admins)).status == 403
    path.unlink()
    assert (await box.page(address, token)).status == 410


@pytest.mark.attacks
async def test_nobody_works_on_the_files_of_others(box: Box) -> None:
    mia, runtime, _ = await _mine(box)
    number = await _snapshot(box, runtime)
    _, _, bens = await _mine(box, "ben")
    job = Job("j" + "1" * 16, runtime.id, Task.EXPORT, "", JobState.PENDING, "", mia.id, now_ms(), 0)
    await jobs.add(box.db, job)
    assert (await box.send(f"{FILES}/jobs/{job.id}/cancel", bens)).status == 404
    for name in ("restore", "trash", "give"):
        reply = await box.send(f"{FILES}/{name}", bens, number=str(number), to="ben")
        assert reply.status == 404, name
    kinds = [each.kind for each in await rows.of(box.db, runtime.id) if each.number == number]
    assert kinds == [Kind.SNAPSHOT] and await _waiting(box) == [(Task.EXPORT, "")]
    assert {each.access.value for each in DASHBOARD if each.path.startswith(FILES)} == {"member"}

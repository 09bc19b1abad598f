"""The box looked after from its page and by the API: gauges, findings, remedies and the support bundle."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile

import pytest

from clawloops.model.account import Role
from clawloops.model.checkup import Remedy
from clawloops.model.gauge import Usage
from clawloops.model.runtime import Phase
from clawloops.web import cookies, upkeep
from tests.web.api.program import admin
from tests.web.box import Box
from tests.web.test_account import joined

OLLAMA = "no answer from http://ollama:11434; look at: docker compose logs ollama"
FIX = 'action="/box/fix/restart-ollama"'


async def _looked(box: Box, token: str) -> str:
    """The page once a look that was asked for has ended."""
    assert (await box.send("/box/checkup", token)).headers["Location"] == "/box#checkup-title"
    await box.settled()
    return await (await box.page("/box", token)).text()


def _usage(name: str, number: int, **more: object) -> Usage:
    given = {"runtime_id": "", "part": "", "image": "clawloops/x:1", "state": "running", "at": number * 1000}
    return Usage(container=name, name=name, cpu_ns=number * 500_000_000, memory=number << 20, **{**given, **more})  # type: ignore[arg-type]


async def test_what_is_wrong_is_told_with_a_button_only_where_it_helps(box: Box) -> None:
    token, _ = await box.signed_in(await joined(box, "olga", Role.OWNER))
    box.kept.find("Ollama", OLLAMA, Remedy.RESTART_OLLAMA)
    box.kept.find("workspace addresses", "nothing resolves x.ws.team.example; add <the> DNS records")
    box.kept.find("disk")
    page = await _looked(box, token)
    assert "2 need attention" in page and f"N{OLLAMA[1:]}." in page and upkeep.REMEDIES[Remedy.RESTART_OLLAMA] in page
    assert FIX in page and page.count('action="/box/fix/') == 1
    assert "needs a person" in page and "add &lt;the&gt; DNS records." in page
    assert "<li>Disk</li>" in page


async def test_a_remedy_is_used_once_noted_in_the_audit_and_its_end_is_told(box: Box) -> None:
    olga = await joined(box, "olga", Role.OWNER)
    token, _ = await box.signed_in(olga)
    assert (await box.send("/box/fix/restart-ollama", token)).status == 409, "nothing is known to be wrong"
    assert (await box.send("/box/fix/rm-rf", token)).status == 404
    box.kept.find("Ollama", OLLAMA, Remedy.RESTART_OLLAMA)
    await _looked(box, token)
    assert (await box.send("/box/fix/restart-litellm", token)).status == 409, "another part is wrong"
    assert (await box.send("/box/fix/restart-ollama", token)).headers["Location"] == "/box#checkup-title"
    await box.settled()
    page = await (await box.page("/box", token)).text()
    assert "Ollama: put right at" in page and "by Olga" in page and FIX not in page
    assert box.kept.used == [(Remedy.RESTART_OLLAMA, olga.id)]
    (entry,) = [each for each in await box.audit.latest() if each.action == "remedy used"]
    assert (entry.actor, entry.subject, entry.detail) == (olga.id, "restart-ollama", "Ollama")
    assert (await box.send("/box/fix/restart-ollama", token)).status == 409, "it is well now"


async def test_one_that_is_under_way_is_not_begun_again_and_one_in_vain_says_why(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = await box.signed_in(await joined(box, "olga", Role.OWNER))
    box.kept.find("Ollama", OLLAMA, Remedy.RESTART_OLLAMA)
    await _looked(box, token)
    go_on, use = asyncio.Event(), box.kept.use

    async def slowly(*given: object) -> None:
        await go_on.wait()
        await use(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(box.kept, "use", slowly)
    box.kept.in_vain[Remedy.RESTART_OLLAMA] = "there is no container of ollama on this host"
    assert (await box.send("/box/fix/restart-ollama", token)).status == 303
    page = await (await box.page("/box", token)).text()
    assert "being fixed" in page and FIX not in page
    assert (await box.send("/box/fix/restart-ollama", token)).status == 409
    go_on.set()
    await box.settled()
    page = await (await box.page("/box", token)).text()
    assert "it did not help: There is no container of ollama on this host." in page and FIX in page


async def test_a_look_that_cannot_be_made_says_so_and_the_next_one_may(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, _ = await box.signed_in(await joined(box, "olga", Role.OWNER))

    async def broken(only: str) -> list[object]:
        raise KeyError("not foreseen")

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(box.upkeep, "_examine", broken)
        page = await _looked(box, token)
    assert "Not looked at" in page and "It failed as nobody foresaw; the log of clawloops has it." in page
    box.kept.find("disk")
    assert 'id="checkup-state">Well<' in await _looked(box, token)


async def test_members_have_none_of_it(box: Box) -> None:
    token, _ = await box.signed_in(await joined(box, "mia"))
    for path in ("/box/checkup", "/box/fix/restart-ollama", "/box/support"):
        assert (await box.send(path, token)).status == 403
    assert (await box.page("/box/gauges/live", token)).status == 403


async def test_gauges_tell_of_the_host_and_of_who_uses_it(box: Box) -> None:
    olga = await box.member("olga", Role.OWNER)
    token, _ = await box.signed_in(olga)
    mia = await box.workspace(await box.member("mia"), Phase.READY)
    page = await (await box.page("/box", token)).text()
    assert "Being measured for the first time" in page
    more = [_usage(f"c{number}", number, part="ollama" if number == 1 else "") for number in range(1, 20)]
    box.kept.usages = [_usage("runtime", 900, runtime_id=mia.id, state="paused"), *more]
    running = asyncio.create_task(box.gauges.run())
    try:
        headers = {"Host": box.site.authority, "Cookie": f"{cookies.SESSION}={token}"}
        url = f"http://127.0.0.1:{box.site.port}/box/gauges/live"
        async with asyncio.timeout(20), box.http.get(url, headers=headers) as stream:
            text = ""
            while not all(each in text for each in ("10 more", "polyline", "No NVIDIA driver is seen here.")):
                text += (await stream.content.readany()).decode()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert f'<a href="/box/workspaces/{mia.id}">Mia</a> <span class="badge">paused</span>' in text
    assert "900 MiB" in text and text.index(">Mia<") < text.index(">c18<"), "the most memory first"
    assert "core" in text
    with open("/proc/meminfo") as meminfo:
        total = int(meminfo.readline().split()[1]) * 1024
    assert box.gauges.history[-1].memory == total and 0 < box.gauges.history[-1].memory_used < total
    assert box.gauges.disks[0].size > box.gauges.disks[0].free > 0


async def test_the_api_tells_the_same_and_uses_remedies(box: Box) -> None:
    olga = await admin(box)
    box.kept.find("Ollama", OLLAMA, Remedy.RESTART_OLLAMA)
    assert (await olga("POST", "/box/checkup")).status == 202
    await box.settled()
    told = (await olga("GET", "/box/checkup")).body
    assert told["findings"] == [{"part": "Ollama", "why": OLLAMA, "remedy": "restart-ollama"}]
    assert (await olga("POST", "/box/remedies/rm-rf")).status == 404
    assert (await olga("POST", "/box/remedies/restart-ollama")).status == 202
    await box.settled()
    (used,) = (await olga("GET", "/box/checkup")).body["remedies"]
    assert (used["outcome"], used["by"]) == ("", olga.user.id) and used["ended_at"]
    assert (await olga("GET", "/box/gauges")).body["host"] is None
    await box.gauges.look()
    told = (await olga("GET", "/box/gauges")).body
    assert told["host"]["memory"] > 0 and told["disks"] and told["cards"] == []


async def test_the_archive_comes_as_a_file_and_is_noted(box: Box) -> None:
    token, _ = await box.signed_in(await joined(box, "olga", Role.OWNER))
    reply = await box.send("/box/support", token)
    assert reply.status == 200 and reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["Content-Disposition"].startswith('attachment; filename="clawloops-support-')
    with tarfile.open(fileobj=io.BytesIO(await reply.read())) as archive:
        names = {each.name.partition("/")[2] for each in archive.getmembers()}
        settings = archive.extractfile("clawloops-support/settings.json")
        assert settings is not None and json.loads(settings.read())["base"] == "box.localhost"
    assert names == {
        "README.txt", "versions.json", "doctor.json", "settings.json", "workspaces.json", "containers.json",
        "audit.json", "clawloops.log",
    }  # fmt: skip
    assert (await box.audit.latest(1))[0].action == "support bundle made"

"""What one's workspace uses now stands on the first page, and is sent again as it changes."""

from __future__ import annotations

import asyncio

from clawloops.model.gauge import Share, Usage
from clawloops.model.runtime import Phase
from clawloops.web import cookies
from tests.web.box import Box


def share(runtime_id: str, memory: int, cores: float | None) -> Share:
    return Share(Usage("c", "", runtime_id, "", "clawloops/openclaw:2", "running", 0, memory, 0), cores)


async def test_a_member_sees_what_their_own_workspace_uses_now(box: Box) -> None:
    maya, ken = await box.member("maya"), await box.member("ken")
    mine, theirs = await box.workspace(maya), await box.workspace(ken)
    token, _ = await box.signed_in(maya)
    assert 'id="uses"' not in await (await box.page("/", token)).text()
    box.gauges.shares = [share(theirs.id, 5 << 30, 1.9), share(mine.id, 1_288_490_189, None)]
    page = await (await box.page("/", token)).text()
    assert "Uses 1.2 GiB of 2.0 GiB of memory now." in page and "5.0 GiB" not in page
    headers = {"Host": box.site.authority, "Cookie": f"{cookies.SESSION}={token}"}
    url = f"http://127.0.0.1:{box.site.port}/live"
    async with box.http.get(url, headers=headers) as stream, asyncio.timeout(10):
        await stream.content.readuntil(b"1.2 GiB")
        box.gauges.shares = [share(mine.id, 1_288_490_189, 0.44)]
        await stream.content.readuntil(b"1.2 GiB of 2.0 GiB of memory, 0.4 of 2 cores now.")
        box.gauges.shares = []
        box.show(mine, Phase.STOPPED)
        assert b'id="uses"' not in await stream.content.readuntil(b'id="open-workspace"')

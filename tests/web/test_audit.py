"""The page of what was done: found by who, words and days, taken away whole, and verified where it can be seen."""

from __future__ import annotations

import csv
import io
import re
from datetime import UTC, datetime

import pytest

from clawloops.clock import now_ms
from clawloops.model.account import Role, User
from tests.web.box import Box


@pytest.fixture
async def olga(box: Box) -> User:
    return await box.member("olga", Role.OWNER)


async def text_of(box: Box, path: str, user: User, status: int = 200) -> str:
    token, _ = await box.signed_in(user)
    reply = await box.page(path, token)
    text = await reply.text()
    assert reply.status == status, text[:500]
    return text


def actions(text: str) -> list[str]:
    return re.findall(r"<strong>(.*?)</strong>", text.partition('id="entries-title"')[2])


async def test_the_page_finds_and_goes_on_to_earlier_ones(box: Box, olga: User) -> None:
    for number in range(120):
        await box.audit.record(olga.id if number % 2 else None, f"did {number}", "<thing>", "")
    text = await text_of(box, "/audit", olga)
    assert actions(text)[0] == "did 119" and len(actions(text)) == 50 and "<thing>" not in text
    seen = actions(text)
    while onward := re.search(r'href="/audit\?([^"#]*before=[^"#]*)', text):
        text = await text_of(box, "/audit?" + onward[1].replace("&amp;", "&"), olga)
        seen += actions(text)
    assert seen == [f"did {number}" for number in range(119, -1, -1)]
    assert len(actions(await text_of(box, f"/audit?who={olga.id}&words=did+11", olga))) == 6
    assert actions(await text_of(box, "/audit?who=nobody&words=did+7", olga)) == [
        "did 78",
        "did 76",
        "did 74",
        "did 72",
        "did 70",
    ]
    assert "Nothing like this was done." in await text_of(box, "/audit?to=2020-01-01", olga)
    today = datetime.fromtimestamp(now_ms() / 1000, UTC).date()
    assert len(actions(await text_of(box, f"/audit?from={today}&to={today}", olga))) == 50


@pytest.mark.parametrize(
    "nonsense",
    ["from=2025-02-31", "to=9999-12-31", "before=-1", "before=" + "9" * 30, "from=%F0"],
)
async def test_nonsense_in_the_address_finds_what_it_says_or_nothing(box: Box, olga: User, nonsense: str) -> None:
    await box.audit.record(None, "did it", "")
    await text_of(box, f"/audit?{nonsense}", olga)
    await text_of(box, f"/audit.csv?{nonsense}", olga)


async def test_the_table_holds_what_was_looked_for(box: Box, olga: User) -> None:
    for number in range(1500):
        await box.audit.record(olga.id, "did it", "=1+1", f"no {number}")
    await box.audit.record(None, "something else", "")
    lines = list(csv.DictReader(io.StringIO(await text_of(box, "/audit.csv?words=did+it", olga))))
    assert [each["detail"] for each in lines] == [f"no {number}" for number in range(1499, -1, -1)]
    assert {(each["actor"], each["subject"], len(each["hash"])) for each in lines} == {("Olga", "'=1+1", 64)}


async def test_the_chain_is_verified_where_it_can_be_seen(box: Box, olga: User) -> None:
    for number in range(3):
        await box.audit.record(olga.id, f"did {number}", "")
    token, _ = await box.signed_in(olga)
    text = await (await box.send("/audit/verify", token)).text()
    noted = re.search(r"3 entries hold.*?<code>([0-9a-f]{64})</code>", text, re.DOTALL)
    assert noted
    assert "3 entries hold" in await (await box.send("/audit/verify", token, head=f" {noted[1].upper()} ")).text()
    reply = await box.send("/audit/verify", token, head="x")
    text = await reply.text()
    assert reply.status == 400 and "A hash has 64 characters" in text and 'value="x"' in text
    assert "its end was cut off" in await (await box.send("/audit/verify", token, head="0" * 64)).text()
    await box.db.execute("UPDATE audit SET detail = 'other' WHERE action = 'did 1'")
    text = await (await box.send("/audit/verify", token)).text()
    assert 'role="alert"' in text and "it was changed" in text and "1 entries before it hold" in text


@pytest.mark.attacks
async def test_only_admins_see_it(box: Box) -> None:
    mia = await box.member("mia")
    await box.audit.record(None, "a secret deed", "")
    for path in ("/audit", "/audit.csv"):
        assert "a secret deed" not in await text_of(box, path, mia, 403)
    assert (await box.send("/audit/verify", (await box.signed_in(mia))[0])).status == 403

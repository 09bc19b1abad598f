"""The page of what was used: right numbers, one's own only, and a table that a spreadsheet can take."""

from __future__ import annotations

import asyncio
import csv
import html
import io
import re
from datetime import UTC, datetime
from itertools import count

import pytest

from clawloops.clock import now_ms
from clawloops.gateway.queue import Seat
from clawloops.model.account import Role, User
from clawloops.model.report import DAY_MS, Month, date_of, day_of, eighths_of, percentile_ms
from clawloops.model.usage import Price, Tokens
from clawloops.store import usage
from clawloops.web import cookies
from tests.store import rows
from tests.web.api.program import program
from tests.web.box import Box
from tests.web.scenes import with_models

_ids = count()
NOVEMBER = int(datetime(2025, 11, 30, 23, 59, tzinfo=UTC).timestamp() * 1000)


async def used(box: Box, user: User, at: int, model: str = "small", **changes: object) -> None:
    call = rows.call(at=at, user_id=user.id, model=model, id=f"{next(_ids):032}", **changes)
    await usage.settle(box.db, [call], log="test", offset=next(_ids))


@pytest.fixture
async def olga(box: Box) -> User:
    return await box.member("olga", Role.OWNER)


@pytest.fixture
async def mia(box: Box) -> User:
    return await box.member("mia")


async def text_of(box: Box, path: str, user: User, status: int = 200) -> str:
    token, _ = await box.signed_in(user)
    reply = await box.page(path, token)
    text = await reply.text()
    assert reply.status == status, text[:500]
    return text


async def test_a_month_is_that_of_utc_and_days_add_up(box: Box, olga: User, mia: User) -> None:
    await used(box, mia, NOVEMBER, cost=1_500_000, held_ms=61_000)
    await used(box, mia, NOVEMBER + 120_000)  # the first minute of December
    await used(box, mia, NOVEMBER - 40 * DAY_MS, status=502, first_ms=None)
    text = await text_of(box, "/usage?month=2025-11", mia)
    assert "November 2025" in text and "<dd>120</dd>" in text and "$1.50" in text and "1 min 1 s" in text
    assert "<title>30 Nov: 120</title>" in text and "Not answered" not in text
    assert "<title>1 Dec: 120</title>" in await text_of(box, "/usage?month=2025-12", mia)
    assert "Not answered" in await text_of(box, "/usage?month=2025-10", mia)
    assert "No call in this month." in await text_of(box, "/usage?month=2025-09", mia)


async def test_an_admin_sees_everybody_and_each_and_a_member_only_what_is_theirs(
    box: Box, olga: User, mia: User
) -> None:
    now = now_ms()
    await used(box, mia, now, "medium")
    await used(box, olga, now, "small")
    await used(box, olga, now, "small")
    everybody = await text_of(box, "/usage", olga)
    assert "<dd>360</dd>" in everybody and everybody.index("Olga</a>") < everybody.index("Mia</a>")
    assert "<dd>120</dd>" in await text_of(box, f"/usage?of={mia.id}", olga)
    mine = await text_of(box, "/usage", mia)
    assert "<dd>120</dd>" in mine and "Olga" not in mine and ">small<" not in mine and "compare" not in mine
    for other in ("everybody", olga.id):
        for path in ("/usage", "/usage.csv"):
            refused = await text_of(box, f"{path}?of={other}", mia, 403)
            assert "Only an admin" in refused and ">360<" not in refused
    assert "There is no such member" in await text_of(box, "/usage?of=nobody", olga, 404)


async def test_of_many_members_those_who_used_most_come_first_and_one_is_found_by_name(box: Box, olga: User) -> None:
    made = [await box.member(f"m{number:02}") for number in range(22)]
    for number, each in enumerate(made):
        await used(box, each, NOVEMBER, tokens=Tokens(input=1000 - number))
    text = await text_of(box, "/usage?month=2025-11&show=calls", olga)
    links = re.findall(r'href="(/usage[^"]+)">(M\d\d)</a>', text)
    assert [name for _, name in links] == [f"M{number:02}" for number in range(20)] and "<select" not in text
    (following,) = re.findall(r'href="(/usage[^"#]+)#members-title">Next<', text)
    rest = await text_of(box, html.unescape(following), olga)
    assert re.findall(r">(M\d\d)</a>", rest) == ["M20", "M21"] and "November 2025" in rest
    assert re.search(r'show=calls"\s+aria-current', rest), "another leaf is of the same chart"
    found = await text_of(box, "/usage?month=2025-11&of=everybody&show=calls&find=m2", olga)
    assert re.findall(r">(M\d\d)</a>", found) == ["M20", "M21"]
    for name, value in {"month": "2025-11", "of": "everybody", "show": "calls"}.items():
        assert f'type="hidden" name="{name}" value="{value}"' in found
    one = await text_of(box, html.unescape(links[0][0]), olga)
    assert "Of <strong>M00</strong>" in one and '<a href="/usage?month=2025-11&of=everybody' in html.unescape(one)


@pytest.mark.parametrize("nonsense", ["2025-13", "2025-00", "25-1", "9999-12", "x", "2025-1%D9%A1"])
async def test_a_month_that_is_none_shows_this_one(box: Box, mia: User, nonsense: str) -> None:
    text = await text_of(box, f"/usage?month={nonsense}&show={nonsense}", mia)
    assert date_of(day_of(now_ms())).strftime("%B %Y") in text


async def test_the_table_holds_every_line_and_no_formula(box: Box, olga: User, mia: User) -> None:
    for at in (NOVEMBER, NOVEMBER, NOVEMBER - DAY_MS):
        await used(box, mia, at, "=1+1", cost=250, held_ms=1500, energy_mwh=40)
    await used(box, olga, NOVEMBER)
    await box.db.execute("UPDATE users SET name = 'O; =2+2;@x' WHERE id = $1", olga.id)
    await box.accounts.reload()
    token, _ = await box.signed_in(olga)
    reply = await box.page("/usage.csv?month=2025-11", token)
    assert reply.headers["Content-Disposition"] == 'attachment; filename="clawloops-usage-2025-11.csv"'
    assert reply.headers["Content-Type"].startswith("text/csv")
    last = [("2025-11-30", "mia", "'=1+1", "2"), ("2025-11-30", "olga", "small", "1")]
    lines = list(csv.DictReader(io.StringIO(await reply.text())))
    assert [(each["day"], each["login"], each["model"], each["calls"]) for each in lines] == [
        ("2025-11-29", "mia", "'=1+1", "1"),
        *sorted(last, key=lambda line: {"mia": mia.id, "olga": olga.id}[line[1]]),
    ]
    assert next(each["member"] for each in lines if each["login"] == "olga") == "O;'=2+2;'@x"
    two = next(each for each in lines if each["calls"] == "2")
    assert (two["cost_usd"], two["gpu_seconds"], two["energy_wh"]) == ("0.000500", "3.0", "0.08")
    assert await text_of(box, "/usage.csv?month=2024-11", mia) == await text_of(box, "/usage.csv?month=2024-12", mia)


async def test_what_cost_nothing_here_is_compared_with_a_price(box: Box, olga: User, mia: User) -> None:
    prices = box.reports.prices
    token, _ = await box.signed_in(olga)
    reply = await box.send("/usage/compare", token, model="gpt-4o")
    assert reply.status == 400 and "has not told its prices yet" in await reply.text()
    prices._table = {"gpt-4o": ("openai", Price(2_500_000, 10_000_000, 1_250_000))}
    reply = await box.send("/usage/compare", token, model="gpt-4oo")
    text = await reply.text()
    assert reply.status == 400 and "Did you mean gpt-4o?" in text and 'value="gpt-4oo"' in text
    assert (await box.send("/usage/compare", token, model=" gpt-4o ")).status == 303
    await used(box, mia, now_ms(), tokens=Tokens(1_000_000, 100_000, 400_000))
    await used(box, mia, now_ms(), tokens=Tokens(1_000_000, 100_000), cost=5)  # paid for: it saved nothing
    assert '<dd id="saved">$3.00</dd>' in await text_of(box, "/usage", mia)
    prices._table = {}
    await prices.load()  # as after a restart, with LiteLLM not up yet
    assert '<dd id="saved">$3.00</dd>' in await text_of(box, "/usage", mia)
    assert (await box.send("/usage/compare", (await box.signed_in(mia))[0], model="")).status == 403
    assert (await box.send("/usage/compare", token, model="")).status == 303
    assert "saved" not in await text_of(box, "/usage", mia)
    told = [each.detail for each in await box.audit.latest() if each.subject == "gpt-4o" or each.subject == "nothing"]
    assert len(told) == 2


async def test_how_long_first_words_took(box: Box, olga: User) -> None:
    for ms in (100, 110, 120, 9_000):
        await used(box, olga, now_ms(), first_ms=ms)
    text = await text_of(box, "/usage", olga)
    counts = dict.fromkeys(map(eighths_of, (100, 110, 120, 9_000)), 1)
    median, most = percentile_ms(counts, 0.5), percentile_ms(counts, 0.95)
    assert median is not None and most is not None and abs(median - 110) < 6 and abs(most - 9_000) < 450
    assert percentile_ms({}, 0.5) is None
    assert "".join(f'<td class="figure roomy">{ms / 1000:.1f} s</td>' for ms in (median, most)) in text


def test_months_follow_each_other_over_a_year() -> None:
    december = Month(2025, 12)
    assert str(december.later) == "2026-01" and december.later.earlier == december
    assert Month(2026, 1).earlier == december and len(Month(2024, 2).days) == 29
    assert december.days.stop == december.later.days.start == day_of(NOVEMBER) + 32


async def _queued(box: Box, *calls: tuple[User, str]) -> list[asyncio.Task[Seat | None]]:
    """One call of each runs or waits at a backend that serves one at once, in this order."""
    await with_models(box)
    await box.backends.set_load("b1", slots=1, watts=0, memory_mb=0, by=box.accounts.members()[0])
    backend, asked = await box.backends.get("b1"), []
    for user, model in calls:
        asked.append(asyncio.create_task(box.queue.enter(backend, user.id, model, is_background=False)))
        await asyncio.sleep(0)
    return asked


async def test_an_admin_sees_who_runs_and_waits_and_a_member_their_own_calls(box: Box, olga: User, mia: User) -> None:
    assert "nobody has to wait" in await text_of(box, "/usage", olga)
    await _queued(box, (olga, "qwen3:8b"), (olga, "qwen3:8b"), (mia, "llama3.3:70b"))
    everybody = await text_of(box, "/usage", olga)
    assert "1 of 1 at once, 2 waiting" in everybody and "<strong>Mia</strong>" in everybody
    assert everybody.index("runs for") < everybody.index("waits for")
    mine = await text_of(box, "/usage", mia)
    assert "llama3.3:70b" in mine and "1 of 1 at once, 2 waiting" in mine and "Olga" not in mine
    assert "<code>qwen3:8b</code>" not in mine and mine.count("<li><code>") == 1
    assert 'data-live="/usage/now"' not in await text_of(box, "/usage?month=2025-01", mia)
    ben = await box.member("ben")
    assert "No call of yours waits" in await text_of(box, "/usage", ben)
    ken = await box.member("ken")
    for each in (ben, ken):
        entering = box.queue.enter(await box.backends.get("b1"), each.id, "qwen3:8b", is_background=False)
        box.keeping.add(asyncio.create_task(entering))
        await asyncio.sleep(0)
    (place,) = [each.place for each in box.backends.waiting_of(ken.id)]
    assert place > 1 and f"{place - 1} before it, its turn in about" in await text_of(box, "/usage", ken)


async def test_the_queue_is_told_again_when_it_moves_and_only_then(
    box: Box, olga: User, mia: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawloops.web.usage.OFTEN_S", 0.05)
    first, second = await _queued(box, (olga, "qwen3:8b"), (mia, "qwen3:8b"))
    token, _ = await box.signed_in(mia)
    headers = {"Host": box.site.authority, "Cookie": f"{cookies.SESSION}={token}"}
    url = f"http://127.0.0.1:{box.site.port}/usage/now"
    async with asyncio.timeout(10), box.http.get(url, headers=headers) as stream:
        text = b""
        while text.count(b": still here") < 3:
            text += await stream.content.readany()
        assert text.count(b"event: part") == 1 and b"waits for" in text and b"next, its turn" in text
        seat = await first
        assert seat is not None
        seat.leave()
        while b"runs for" not in text:
            text += await stream.content.readany()
        assert text.count(b"event: part") == 2
        seat = await second
        assert seat is not None
        seat.leave()
        while b"No call of yours" not in text:
            text += await stream.content.readany()
        await box.sessions.revoke_user(mia.id)
        while b"event: ended" not in text:
            text += await stream.content.readany()


async def test_the_queue_is_read_by_programs(box: Box, olga: User, mia: User) -> None:
    await _queued(box, (olga, "qwen3:8b"), (olga, "qwen3:8b"), (mia, "llama3.3:70b"))
    everything = await program(box, olga)
    found = (await everything("GET", "/queue")).body["items"]
    assert [(each["member_id"], each["place"]) for each in found] in (
        [(olga.id, 0), (mia.id, 1), (olga.id, 2)],
        [(olga.id, 0), (olga.id, 1), (mia.id, 2)],
    )
    assert {each["backend_id"] for each in found} == {"b1"} and found[1]["expected_ms"] > 0
    page = (await everything("GET", "/queue?limit=2")).body
    rest = (await everything("GET", f"/queue?limit=2&cursor={page['next_cursor']}")).body
    assert [each["place"] for each in page["items"] + rest["items"]] == [0, 1, 2]
    assert len((await everything("GET", "/me/queue")).body["items"]) == 2
    own = await program(box, mia)
    (mine,) = (await own("GET", "/me/queue")).body["items"]
    assert (mine["member_id"], mine["model"]) == (mia.id, "llama3.3:70b") and mine["place"] > 0
    assert (await own("GET", "/queue")).status == 403

"""The egress proxy: who may connect where, what is really connected to, and what ends what is open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from clawloops.gateway import asking as questions
from clawloops.gateway import egress, receipts, tunnel
from clawloops.gateway.outside import Outside
from clawloops.model.egress import EVERYBODY, Mode, Outcome, Verdict, canonical
from tests.gateway.way_out import MIA, PUBLIC, WayOut, open_way_out, rule, until_cut

GET = b"GET http://example.org/a?b HTTP/1.1\r\nHost: other.example\r\n\r\n"


@pytest.fixture
async def out() -> AsyncIterator[WayOut]:
    async with open_way_out() as way_out:
        yield way_out


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_listed_host_is_tunnelled_to_and_the_receipt_says_how_much(out: WayOut) -> None:
    out.set()
    out.rules("example.org")
    head, reader, writer = await out.tunnel("Example.org.:443")
    assert head.startswith(b"HTTP/1.1 200 ")
    data = bytes(range(256)) * 8192
    writer.write(b"ECHO" + data)
    assert await reader.readexactly(len(data)) == data
    writer.write_eof()
    assert await reader.read() == b"", "the end of one side reaches the other"
    writer.close()
    await until(lambda: not out.host.open)
    (receipt,) = out.receipts.take()
    assert (receipt.user_id, receipt.host, receipt.port, receipt.outcome) == (
        "u-ada",
        "example.org",
        443,
        Outcome.PASSED,
    )
    assert (receipt.connections, receipt.sent, receipt.received) == (1, len(data) + 4, len(data))
    assert receipt.hour <= receipt.first_at <= receipt.last_at < receipt.hour + receipts.HOUR_MS


async def test_a_plain_request_is_made_anew_for_the_host_that_it_names(out: WayOut) -> None:
    out.set()
    out.rules("example.org")
    sent = (
        b"POST http://example.org/a?b HTTP/1.1\r\nHost: other.example\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
        b"Proxy-Authorization: Basic c2VjcmV0\r\nKeep-Alive: 5\r\nContent-Length: 5\r\nX-Own: yes\r\n\r\nhello"
    )
    assert await out.ask(sent) == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nthere"
    assert out.host.heads == [
        b"POST /a?b HTTP/1.1\r\nHost: example.org\r\nX-Own: yes\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    ]
    assert out.host.bodies == [b"hello"]


async def test_a_second_request_behind_the_first_reaches_nobody(out: WayOut) -> None:
    out.set()
    out.rules("example.org")
    await out.ask(GET + b"GET http://evil.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n")
    assert len(out.host.heads) == 1 and b"evil" not in out.host.heads[0] + out.host.bodies[0]


@pytest.mark.parametrize(
    ("mode", "place", "status", "outcome"),
    [
        (Mode.NONE, "example.org:443", b"403", Outcome.OFF),
        (Mode.LISTED, "other.example:443", b"403", Outcome.UNLISTED),
        (Mode.LISTED, "example.org:8443", b"403", Outcome.UNLISTED),
        (Mode.LISTED, "sub.example.org:443", b"403", Outcome.UNLISTED),
        (Mode.LISTED, "example.org.evil.test:443", b"403", Outcome.UNLISTED),
        (Mode.LISTED, "refused.test:443", b"403", Outcome.DENIED),
        (Mode.OPEN, "refused.test:9999", b"403", Outcome.DENIED),
        (Mode.OPEN, "deep.below.test:443", b"403", Outcome.DENIED),
        (Mode.OPEN, "for-nobody.test:443", b"403", Outcome.DENIED),
        (Mode.LEARNING, "refused.test:443", b"403", Outcome.DENIED),
        (Mode.OPEN, "mail.test:25", b"403", Outcome.MAIL),
        (Mode.LEARNING, "mail.test:25", b"403", Outcome.MAIL),
        (Mode.OPEN, "10.0.0.1:443", b"403", Outcome.PRIVATE),
        (Mode.OPEN, "169.254.169.254:80", b"403", Outcome.PRIVATE),
        (Mode.OPEN, "[::ffff:7f00:1]:80", b"403", Outcome.PRIVATE),
        (Mode.LISTED, "private.test:443", b"403", Outcome.PRIVATE),
    ],
)
async def test_what_may_not_be_reached_is_refused_and_noted(
    out: WayOut, mode: Mode, place: str, status: bytes, outcome: Outcome
) -> None:
    out.set(mode)
    out.rules("example.org", "private.test", refused=("refused.test", "*.below.test"))
    out.permits.set_rules(EVERYBODY, [rule("for-nobody.test", EVERYBODY, allows=False)])
    out.internet.told["private.test"] = ["192.168.1.20", "127.0.0.1", "fd00::1", "::1"]
    answer = await out.ask(f"CONNECT {place} HTTP/1.1\r\n\r\n".encode())
    assert answer.split(b" ")[1] == status and b"ClawLoops: " in answer.split(b"\r\n")[0]
    host = canonical(place.rpartition(":")[0])
    assert out.outcomes() == [(host, int(place.rpartition(":")[2]), outcome)]
    assert out.internet.dialled == []


async def test_names_that_no_rule_allows_are_not_even_looked_up(out: WayOut) -> None:
    """A name that is looked up is a message to whoever runs its domain."""
    out.set()
    await out.ask(b"CONNECT secrets-in-here.evil.test:443 HTTP/1.1\r\n\r\n")
    out.set(Mode.NONE)
    await out.ask(b"CONNECT secrets-in-here.evil.test:443 HTTP/1.1\r\n\r\n")
    assert out.internet.asked == []


async def test_of_a_name_with_private_and_public_addresses_only_public_ones_are_dialled(out: WayOut) -> None:
    out.set(Mode.OPEN)
    out.internet.told["mixed.test"] = ["10.1.2.3", PUBLIC, "127.0.0.1"]
    head, _, writer = await out.tunnel("mixed.test:443")
    assert head.startswith(b"HTTP/1.1 200 ") and out.internet.dialled == [PUBLIC]
    assert out.internet.asked == ["mixed.test"], "what was looked at is what is dialled: it is looked up once"
    writer.close()


async def test_the_systems_own_resolver_leads_nowhere_private_either() -> None:
    async with open_way_out(Outside()) as out:
        out.set(Mode.OPEN)
        for host in ("localhost", "127.0.0.1"):
            assert (await out.ask(f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode())).startswith(b"HTTP/1.1 403 ")
            assert out.outcomes() == [(host, 443, Outcome.PRIVATE)]


async def test_a_public_address_of_this_box_is_not_reached() -> None:
    async with open_way_out(but=f"192.0.2.1,{PUBLIC}/30") as out:
        out.set(Mode.OPEN)
        assert (await out.ask(b"CONNECT box.test:443 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
        assert out.outcomes() == [("box.test", 443, Outcome.PRIVATE)] and out.internet.dialled == []


async def test_a_refused_address_is_not_reached_by_a_name_of_it(out: WayOut) -> None:
    out.set(Mode.OPEN)
    out.rules(refused=(PUBLIC,))
    assert (await out.ask(b"CONNECT some.test:443 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
    assert out.internet.dialled == []


async def test_a_workspace_that_learns_reaches_anything_public_and_tells_what_is_new(out: WayOut) -> None:
    out.set(Mode.LEARNING)
    out.rules("known.test")
    for place in ("new.test:443", "known.test:443", "new.test:8443"):
        head, _, writer = await out.tunnel(place)
        assert head.startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert out.learned == [("u-ada", "new.test", 443), ("u-ada", "new.test", 8443)]
    out.internet.told["lan.test"] = ["10.0.0.7"]
    assert (await out.ask(b"CONNECT lan.test:443 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
    assert len(out.learned) == 2, "what leads nowhere public is not learned"


async def test_nobody_but_a_runtime_on_its_own_address_is_answered(out: WayOut) -> None:
    out.set(Mode.OPEN)
    assert await out.ask(GET, source="127.0.0.3") == b"", "an address in the pool that is no runtime's"
    reader, writer = await asyncio.open_connection("127.0.0.1", out.port, local_addr=("127.0.0.9", 0))
    writer.write(GET)
    assert await until_cut(reader) == b"", "nor one beside it"
    out.directory.drop_runtime("r-ada")
    assert await out.ask(GET) == b"", "whose token has ended"
    assert out.host.heads == []


async def test_each_is_judged_by_their_own_rules(out: WayOut) -> None:
    out.set()
    out.set(user_id="u-mia")
    out.rules("example.org")
    assert (await out.ask(GET)).endswith(b"there")
    assert (await out.ask(GET, source=MIA)).startswith(b"HTTP/1.1 403 ")


@pytest.mark.parametrize("how", ["shut out", "mode", "rule", "idle"])
async def test_what_is_open_ends_when_it_may_no_longer_be(
    out: WayOut, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(egress, "LOOK_EVERY_S", 0.05)
    out.set()
    out.rules("example.org")
    _, reader, writer = await out.tunnel("example.org:443")
    writer.write(b"ECHOx")
    assert await reader.readexactly(1) == b"x"
    match how:
        case "shut out":
            out.directory.drop_runtime("r-ada")
        case "mode":
            out.set(Mode.NONE)
        case "rule":
            out.rules()
        case _:
            monkeypatch.setattr(tunnel, "IDLE_S", 0.0)
    assert await until_cut(reader) == b""
    await until(lambda: not out.host.open)


async def test_a_person_is_asked_about_a_new_host_and_the_connection_waits(out: WayOut) -> None:
    out.set(asks=True)
    asked = asyncio.create_task(out.tunnel("new.test:443"))
    await until(lambda: out.asking.of("u-ada"))
    (question,) = out.asking.of("u-ada")
    assert (question.host, question.port, question.waiting) == ("new.test", 443, 1)
    assert out.internet.asked == []
    out.rules("new.test")
    out.asking.settle(lambda *place: out.permits.decide(*place) is not Verdict.ASK)
    head, _, writer = await asked
    assert head.startswith(b"HTTP/1.1 200 ")
    writer.close()
    second = asyncio.create_task(out.ask(b"CONNECT bad.test:443 HTTP/1.1\r\n\r\n"))
    await until(lambda: out.asking.of("u-ada"))
    out.rules("new.test", refused=("bad.test",))
    out.asking.settle(lambda *place: out.permits.decide(*place) is not Verdict.ASK)
    assert (await second).startswith(b"HTTP/1.1 403 ")
    assert ("bad.test", 443, Outcome.DENIED) in out.outcomes()


async def test_a_question_that_nobody_answers_is_a_refusal_and_stays_for_a_while(
    out: WayOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "WAITS_S", 0.2)
    out.set(asks=True)
    assert (await out.ask(b"CONNECT new.test:443 HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
    assert [each.waiting for each in out.asking.of("u-ada")] == [0]
    assert out.outcomes() == [("new.test", 443, Outcome.UNLISTED)]
    monkeypatch.setattr(questions, "KEPT_MS", -1)
    await until(lambda: not out.asking.of("u-ada"))


@pytest.mark.parametrize("place", [f"[::ffff:{PUBLIC}]:443", "mapped.test:443"])
async def test_a_refused_address_is_not_reached_by_its_ipv6_form(out: WayOut, place: str) -> None:
    out.set(Mode.OPEN)
    out.rules(refused=(PUBLIC,))
    out.internet.told["mapped.test"] = [f"::ffff:{PUBLIC}"]
    assert (await out.ask(f"CONNECT {place} HTTP/1.1\r\n\r\n".encode())).startswith(b"HTTP/1.1 403 ")
    assert out.internet.dialled == []


@pytest.mark.parametrize("how", ["mode", "shut out"])
async def test_what_changes_while_a_name_is_looked_up_counts(out: WayOut, how: str) -> None:
    out.set(Mode.OPEN)
    out.internet.slow.add("example.org")
    asked = asyncio.create_task(out.ask(GET))
    await until(lambda: out.internet.asked)
    if how == "mode":
        out.set(Mode.NONE)
    else:
        out.directory.drop_runtime("r-ada")
    out.internet.go.set()
    assert not (await asked).endswith(b"there") and out.host.heads == []


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", b"400"),
        (b"GET https://example.org/ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET http://user@example.org/ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET http:///path HTTP/1.1\r\n\r\n", b"400"),
        (b"GET http://0x7f.1/ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET http://2130706433/ HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT example.org HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT example.org:0 HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT [fe80::1%25eth0]:443 HTTP/1.1\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
        (b"POST http://example.org/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"POST http://example.org/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", b"400"),
        (b"GET http://example.org/ HTTP/1.1\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", b"431"),
    ],
)
async def test_what_is_no_request_for_a_proxy_is_refused(out: WayOut, sent: bytes, status: bytes) -> None:
    out.set(Mode.OPEN)
    assert (await out.ask(sent)).split(b" ")[1] == status
    assert out.internet.dialled == []

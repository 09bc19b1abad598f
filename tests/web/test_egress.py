"""The pages of internet access: who may change what, questions with their answers, receipts; and what is kept of it."""

from __future__ import annotations

import asyncio

import pytest

from clawloops.control import egress as control
from clawloops.errors import BadInput, Unavailable
from clawloops.gateway.permits import Permits
from clawloops.model.account import Role, User
from clawloops.model.egress import EVERYBODY, Mode, Outcome, Policy, Source, Verdict
from clawloops.store import egress as store
from tests.web.box import Box


@pytest.fixture
async def mia(box: Box) -> User:
    return await box.member("mia")


@pytest.fixture
async def hers(box: Box, mia: User) -> str:
    await box.workspace(mia)
    return (await box.signed_in(mia))[0]


@pytest.fixture
async def admin(box: Box) -> str:
    return (await box.signed_in(await box.member("olga", Role.OWNER)))[0]


def permits(box: Box) -> Permits:
    return box.egress.permits


async def test_a_member_keeps_a_list_of_their_own(box: Box, mia: User, hers: str) -> None:
    assert permits(box).decide(mia.id, "github.com", 443) is Verdict.PASS, "it is on everybody's list"
    assert (await box.send("/workspace/internet", hers, place="Example.org", verdict="allow")).status == 303
    assert (await box.send("/workspace/internet", hers, place="github.com", verdict="refuse")).status == 303
    assert permits(box).decide(mia.id, "example.org", 80) is Verdict.PASS
    assert permits(box).decide(mia.id, "github.com", 443) is Verdict.DENIED, "a refusal beats what everybody may"
    page = await (await box.page("/workspace/internet", hers)).text()
    assert (
        "<code>example.org</code>" in page
        and "What is on the list" in page
        and 'action="/workspace/internet/reach"' not in page
    )
    rule = next(each for each in box.egress.rules_of(mia.id) if each.host == "example.org")
    assert (await box.send(f"/workspace/internet/rules/{rule.id}/remove", hers)).status == 303
    assert (await box.send(f"/workspace/internet/rules/{rule.id}/remove", hers)).status == 404
    assert permits(box).decide(mia.id, "example.org", 80) is Verdict.ASK
    assert [(each.action, each.detail) for each in await box.audit.latest(3)] == [
        ("internet rule removed", "allow example.org"),
        ("internet rule set", "refuse github.com"),
        ("internet rule set", "allow example.org"),
    ]


@pytest.mark.parametrize("place", ["", "https://example.org/", "localhost", "*", "a.test:99999", "<script>"])
async def test_what_is_no_host_is_refused_beside_its_field(box: Box, hers: str, place: str) -> None:
    refused = await box.send("/workspace/internet", hers, place=place, verdict="refuse")
    text = await refused.text()
    assert refused.status == 400 and "Write a host such as example.org" in text
    assert "<script>x" not in text and 'value="refuse" selected' in text


async def test_only_an_admin_says_how_far_and_what_holds_for_everybody(
    box: Box, mia: User, hers: str, admin: str
) -> None:
    runtime = await box.runtimes.of_owner(mia.id)
    assert runtime is not None
    its = f"/box/workspaces/{runtime.id}/internet"
    for path in ("/workspace/internet/reach", f"{its}/reach", "/box/internet/reach"):
        assert (await box.send(path, hers, mode="open")).status == 403
    for path in (its, "/box/internet"):
        assert (await box.page(path, hers)).status == 403
        assert (await box.send(path, hers, place="a.test", verdict="allow")).status == 403
    assert (await box.send(f"{its}/reach", admin, mode="none")).status == 303
    assert permits(box).decide(mia.id, "github.com", 443) is Verdict.OFF
    assert (await box.send("/box/internet/reach", admin, mode="open", asks="on")).status == 303
    assert (await box.send(f"{its}/reach", admin, mode="usual")).status == 303
    assert permits(box).policy_of(mia.id) == Policy(Mode.OPEN, asks=True)
    assert (await box.send(f"{its}/reach", admin, mode="wide")).status == 400
    assert (await box.send("/box/internet/reach", admin, mode="usual")).status == 400
    assert (await box.send("/box/internet", admin, place="bad.test", verdict="refuse")).status == 303
    assert permits(box).decide(mia.id, "bad.test", 443) is Verdict.DENIED
    page = await (await box.page("/box/internet", admin)).text()
    assert "<code>bad.test</code>" in page


async def test_a_question_is_on_the_dashboard_and_its_answer_becomes_a_rule(box: Box, mia: User, hers: str) -> None:
    asked = asyncio.create_task(box.egress.asking.ask(mia.id, "new.test", 443, is_over=lambda: False))
    await asyncio.sleep(0)
    assert "wants to connect to a host" in await (await box.page("/", hers)).text()
    assert "new.test" in await (await box.page("/workspace/internet", hers)).text()
    sent = {"host": "new.test", "port": "443"}
    assert (await box.send("/workspace/internet/answer", hers, **sent, answer="allow")).status == 303
    await asked
    (rule,) = box.egress.rules_of(mia.id)
    assert (rule.host, rule.port, rule.allows, rule.source) == ("new.test", 0, True, Source.ANSWERED)
    assert (await box.send("/workspace/internet/answer", hers, **sent, answer="refuse")).status == 404
    assert (await box.send("/workspace/internet/answer", hers, host="new.test", port="x", answer="allow")).status == 400
    other, _ = await box.signed_in(await box.member("max"))
    again = asyncio.create_task(box.egress.asking.ask(mia.id, "b.test", 22, is_over=lambda: False))
    await asyncio.sleep(0)
    assert (await box.send("/workspace/internet/answer", other, host="b.test", port="22", answer="allow")).status == 404
    assert (await box.send("/workspace/internet/answer", hers, host="b.test", port="22", answer="no")).status == 303
    await again
    assert permits(box).decide(mia.id, "b.test", 443) is Verdict.ASK, "the answer was about port 22"


async def test_what_was_learned_is_a_list_once_it_is_locked(box: Box, mia: User, hers: str, admin: str) -> None:
    runtime = await box.runtimes.of_owner(mia.id)
    assert runtime is not None
    await box.send(f"/box/workspaces/{runtime.id}/internet/reach", admin, mode="learning")
    for host, port in (("a.test", 443), ("a.test", 80), ("b.test", 2222)):
        assert permits(box).decide(mia.id, host, port) is Verdict.LEARN
        permits(box).learn(mia.id, host, port)
    await box.settled()
    page = await (await box.page("/workspace/internet", hers)).text()
    assert "<code>a.test</code>" in page and "<code>b.test:2222</code>" in page and "Lock the list" in page
    assert (await box.send("/workspace/internet/lock", hers)).status == 303
    assert permits(box).policy_of(mia.id) == Policy(Mode.LISTED, asks=False)
    assert permits(box).decide(mia.id, "b.test", 2222) is Verdict.PASS
    assert permits(box).decide(mia.id, "c.test", 443) is Verdict.UNLISTED


async def test_learning_never_overturns_what_somebody_has_refused_meanwhile(box: Box, mia: User, hers: str) -> None:
    await store.set_policy(box.db, mia.id, Policy(Mode.LEARNING))
    await box.egress.load()
    await box.send("/workspace/internet", hers, place="a.test", verdict="refuse")
    permits(box).learn(mia.id, "a.test", 443)
    await box.settled()
    assert permits(box).decide(mia.id, "a.test", 443) is Verdict.DENIED


async def test_receipts_are_read_by_the_member_and_an_admin_and_nobody_else(
    box: Box, mia: User, hers: str, admin: str
) -> None:
    box.egress.receipts.note(mia.id, "a.test", 443, Outcome.PASSED, address="1.1.1.1")
    box.egress.receipts.moved(mia.id, "a.test", 443, sent=2048, received=5 << 20)
    box.egress.receipts.note(mia.id, "b.test", 8443, Outcome.UNLISTED)
    runtime = await box.runtimes.of_owner(mia.id)
    assert runtime is not None
    for path, token in (("/workspace/internet", hers), (f"/box/workspaces/{runtime.id}/internet", admin)):
        page = await (await box.page(path, token)).text()
        assert "a.test" in page and "2.0 KiB" in page and "5.0 MiB" in page and "1.1.1.1" in page
        assert "not on the list" in page and 'value="b.test:8443"' in page
    other, _ = await box.signed_in(await box.member("max"))
    assert "a.test" not in await (await box.page("/workspace/internet", other)).text()
    assert (await box.send("/workspace/internet", hers, place="b.test:8443")).status == 303
    assert 'value="b.test:8443"' not in await (await box.page("/workspace/internet", hers)).text()


async def test_pages_of_receipts_follow_each_other(
    box: Box, mia: User, hers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "PAGE", 2)
    monkeypatch.setattr("clawloops.web.egress.PAGE", 2)
    for number in range(5):
        box.egress.receipts.note(mia.id, f"h{number}.test", 443, Outcome.PASSED)
    seen = [
        await (await box.page(f"/workspace/internet?page={page}", hers)).text()
        for page in ("0", "1", "2", "x", "9" * 30)
    ]
    assert [[f"h{number}.test" in text for number in range(5)].count(True) for text in seen] == [2, 2, 1, 2, 2]
    assert ["Earlier" in text for text in seen] == [True, True, False, True, True]


async def test_receipts_that_cannot_be_written_are_kept(box: Box, mia: User, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise Unavailable("the disk is full")

    box.egress.receipts.note(mia.id, "a.test", 443, Outcome.PASSED)
    with monkeypatch.context() as patched:
        patched.setattr(store, "add_receipts", fail)
        await box.egress.write()
    box.egress.receipts.note(mia.id, "a.test", 443, Outcome.PASSED)
    (receipt,) = await box.egress.receipts_of(mia.id, by=mia)
    assert receipt.connections == 2


async def test_a_list_is_bounded(box: Box, mia: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MOST_RULES", 2)
    for host in ("a.test", "b.test", "a.test"):
        await box.egress.add(mia.id, host, allows=True, by=mia)
    with pytest.raises(BadInput, match="2 rules already"):
        await box.egress.add(mia.id, "c.test", allows=True, by=mia)


async def test_all_of_it_is_there_after_a_restart(box: Box, mia: User) -> None:
    await box.egress.add(mia.id, "a.test:99", allows=True, by=mia)
    await store.set_policy(box.db, mia.id, Policy(Mode.LISTED, asks=False))
    anew = control.Egress(box.db, box.audit, keep=lambda work: work.close())
    await anew.load()
    assert anew.permits.decide(mia.id, "a.test", 99) is Verdict.PASS
    assert anew.permits.decide(mia.id, "b.test", 99) is Verdict.UNLISTED
    assert anew.rules_of(EVERYBODY) == box.egress.rules_of(EVERYBODY) != ()

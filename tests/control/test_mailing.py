"""Invitations by e-mail, through a real mail server that takes them, refuses them, hangs and lies."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

import pytest

from clawloops.clock import now_ms
from clawloops.control import mailing, smtp
from clawloops.control.mailing import AGAIN_AFTER_MIN, Mailing
from clawloops.control.smtp import Post
from clawloops.errors import BadInput, Conflict, Forbidden, Gone, NotFound
from clawloops.model.account import Guest, Role, User
from clawloops.model.mail import DeliveryState, Security
from clawloops.store import deliveries, groups
from clawloops.web.languages import ENGLISH, language
from tests.control.conftest import House
from tests.control.mailroom import HOST, certificates, mail, olga, only_one, server
from tests.mail_server import PASSWORD, SENDER, USER, Certificates, Office, silence
from tests.store import rows

__all__ = ["certificates", "mail", "olga", "server"]


async def _due(house: House) -> None:
    """The wait is over."""
    await house.db.execute("UPDATE deliveries SET next_at = $1 WHERE state = 'waiting'", now_ms())


async def _invited(house: House, by: User, *addresses: str) -> None:
    guests = [Guest(each.split("@")[0], email=each) for each in addresses]
    await house.invitations.invite_by_mail(guests, by=by, language="en")


async def test_an_invitation_comes_with_who_where_until_when_and_a_link_that_works(
    house: House, olga: User, mail: Mailing, server: Office
) -> None:
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    await house.invitations.invite_by_mail([Guest("Ken", Role.ADMIN, email="ken@example.com")], by=olga, language="en")
    await mail.deliver()
    ((recipient, letter),) = server.taken
    assert (recipient, letter["From"], letter["To"]) == ("ken@example.com", f"ClawLoops <{SENDER}>", "ken@example.com")
    assert letter["Subject"] == "Olga invites you to ClawLoops" and letter["Auto-Submitted"] == "auto-generated"
    found = await only_one(house)
    assert (found.state, found.tries, found.said) == (DeliveryState.SENT, 1, "Taken as number 7")
    (invitation,) = await house.invitations.open()
    plain, page = letter.get_body(("plain",)), letter.get_body(("html",))
    assert plain is not None and page is not None
    text = plain.get_content()
    assert "Olga invites you" in text and HOST in text and "as an admin" in text and " UTC" in text
    links = set(re.findall(r"http://clawloops\.localhost/join/([\w-]{43})", text + page.get_content()))
    (token,) = links
    assert token not in str(await house.db.fetch("SELECT * FROM invitations")) + str(found)
    ken, _ = await house.invitations.accept(token, login="ken", name="Ken", password="a long enough password")
    assert ken.role is Role.ADMIN and invitation.note == "Ken"
    assert await house.invitations.deliveries() == []


async def test_what_is_refused_for_now_is_tried_again_with_the_same_link_and_not_for_ever(
    house: House, olga: User, mail: Mailing, server: Office
) -> None:
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    await _invited(house, olga, "ken@example.com")
    server.answers = ["451 4.7.1 greylisted, come back"]
    await mail.deliver()
    found = await only_one(house)
    assert (found.state, found.tries) == (DeliveryState.WAITING, 1)
    assert "451 4.7.1 greylisted" in found.said and 50_000 < found.next_at - now_ms() <= 60_000
    assert 50 < await mail.deliver() <= 60 and not server.taken, "not before its time"
    await _due(house)
    await mail.deliver()
    assert (await only_one(house)).state is DeliveryState.SENT
    first, second = (re.findall(rb"/join/([\w-]+)", each.replace(b"=\r\n", b""))[0] for each in server.bodies)
    assert first == second
    await _invited(house, olga, "ada@example.com")
    server.answers = ["451 no"] * 20
    for _ in range(len(AGAIN_AFTER_MIN) + 3):
        await _due(house)
        await mail.deliver()
    ada = next(each for each in await house.invitations.deliveries() if each.recipient.startswith("ada"))
    assert (ada.state, ada.tries) == (DeliveryState.FAILED, len(AGAIN_AFTER_MIN) + 1)


async def test_what_is_refused_for_good_is_given_up_and_the_others_go_on_at_once(
    house: House, olga: User, mail: Mailing, server: Office
) -> None:
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    server.refused["no@example.com"] = "550 5.1.1 nobody of that name"
    await _invited(house, olga, "a@example.com", "no@example.com", "b@example.com")
    server.greetings = 0
    await mail.deliver()
    said = {each.recipient: (each.state, each.said) for each in await house.invitations.deliveries()}
    assert said["no@example.com"] == (DeliveryState.FAILED, "The mail server said: 550 5.1.1 nobody of that name")
    assert {recipient for recipient, _ in server.taken} == {"a@example.com", "b@example.com"}
    assert server.greetings == 2, "one connection: before and after STARTTLS"


async def test_a_server_that_breaks_off_or_hangs_costs_one_try_and_nobody_else_theirs(
    house: House, olga: User, mail: Mailing, server: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp, "SEND_S", 0.3)
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    for answer, told in (("close", "broke off"), ("hang", "did not answer in time")):
        await house.db.execute("DELETE FROM invitations WHERE invited_by IS NOT NULL")
        await _invited(house, olga, "a@example.com", "b@example.com")
        server.answers, server.taken = [answer], []
        assert await mail.deliver() == 0.0
        one, other = sorted(await house.invitations.deliveries(), key=lambda each: -each.tries)
        assert (one.state, one.tries, other.tries) == (DeliveryState.WAITING, 1, 0) and told in one.said
        await mail.deliver()
        assert [recipient for recipient, _ in server.taken] == [other.recipient]


async def test_a_server_that_is_gone_or_silent_costs_all_a_try_and_is_named(
    house: House, olga: User, mail: Mailing, server: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    await _invited(house, olga, "a@example.com", "b@example.com")
    monkeypatch.setattr(smtp, "CONNECT_S", 0.3)
    async with silence() as port:
        mail.server = replace(server.settings(Security.STARTTLS), port=port)
        await mail.deliver()
        assert {(each.tries, each.said) for each in await house.invitations.deliveries()} == {
            (1, f"localhost port {port} did not answer within 0.3 s.")
        }
    await _due(house)
    mail.server = replace(mail.server, port=1)
    await mail.deliver()
    assert all(
        each.tries == 2 and "port 1 cannot be used" in each.said for each in await house.invitations.deliveries()
    )


async def test_nothing_is_sent_while_that_cannot_be_noted(
    house: House, olga: User, mail: Mailing, server: Office
) -> None:
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    await _invited(house, olga, "ken@example.com")
    await house.db.execute("CREATE TRIGGER no BEFORE UPDATE ON deliveries BEGIN SELECT RAISE(ABORT, 'full'); END")
    for _ in range(2):
        with pytest.raises(Conflict):
            await mail.deliver()
    assert server.taken == []
    await house.db.execute("DROP TRIGGER no")
    await mail.deliver()
    assert len(server.taken) == 1
    await house.invitations.mail_again((await only_one(house)).invitation_id, by=olga)
    trigger = "BEFORE UPDATE ON deliveries WHEN NEW.state = 'sent' BEGIN SELECT RAISE(ABORT, 'full'); END"
    await house.db.execute(f"CREATE TRIGGER no {trigger}")
    with pytest.raises(Conflict):
        await mail.deliver()
    assert len(server.taken) == 2 and 50 < await mail.deliver() <= 60, "not again at once"


async def test_one_that_cannot_be_made_is_given_up_and_ends_no_other(
    house: House, olga: User, mail: Mailing, server: Office, caplog: pytest.LogCaptureFixture
) -> None:
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    await _invited(house, olga, "a@example.com", "ken@example.com")
    bad = "=?utf-8?q?a?=@example.com"
    await house.db.execute("UPDATE deliveries SET recipient = $1 WHERE recipient = 'a@example.com'", bad)
    for _ in range(2):
        await mail.deliver()
    said = {each.recipient: (each.state, each.tries, each.said) for each in await house.invitations.deliveries()}
    assert said[bad][:2] == (DeliveryState.FAILED, 1) and "could not be made" in said[bad][2]
    assert said["ken@example.com"][0] is DeliveryState.SENT and "was given up" in caplog.text


async def test_no_name_begins_a_line_of_the_head(house: House, mail: Mailing, server: Office) -> None:
    eve, _ = await house.join("eve", role=Role.OWNER)
    await house.db.execute("UPDATE users SET name = $1", "Eve\r\nBcc: all@example.com\x00\u202e <b>")
    await house.accounts.load()
    eve = house.accounts.get(eve.id)
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=eve)
    await _invited(house, eve, "ken@example.com")
    await mail.deliver()
    ((_, letter),) = server.taken
    assert letter["Bcc"] is None and letter["Subject"] == "Eve Bcc: all@example.com <b> invites you to ClawLoops"
    page = letter.get_body(("html",))
    assert page is not None and "&lt;b&gt;" in page.get_content() and "<b>" not in page.get_content()


@pytest.mark.parametrize(
    "address",
    [
        "", "ken", "ken@", "@example.com", "a@b@c.de", "ken@example.com\r\nRCPT TO:<x@y.z>",
        "k en@example.com", "<k@e.com>", "ké@example.com",
        '"k n"@example.com', "ken@exa_mple.com", "ken@-example.com", "k.@example.com", "ken@example..com",
        "ken@example.com,x@y.z", "a" * 65 + "@example.com", "ken@[10.0.0.1]", "ken@example.com\x00",
        "=?utf-8?q?a?=@example.com",
    ],
)  # fmt: skip
async def test_only_a_plain_address_is_sent_to(house: House, olga: User, address: str) -> None:
    with pytest.raises(BadInput) as refused:
        await house.invitations.invite_by_mail([Guest("Ken", email=address)], by=olga, language="en")
    assert refused.value.field == "email" and await house.invitations.open() == []


async def test_the_queue_outlives_a_restart_and_its_links_stay_the_same(
    house: House, olga: User, mail: Mailing, server: Office, certificates: Certificates
) -> None:
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    server.answers = ["451 later"]
    await _invited(house, olga, "ken@example.com")
    await mail.deliver()
    post = Post(name=HOST, may_reach=lambda _: True, tls=certificates.trusting)
    again = Mailing(house.db, house.sealer, house.invitations, house.audit, post=post, base=HOST, tongue=language)
    await again.load()
    assert again.server == mail.server
    await _due(house)
    running = asyncio.create_task(again.run())
    async with asyncio.timeout(5):
        while not server.taken:
            await asyncio.sleep(0.02)
    running.cancel()
    assert server.signed_in[-1] == USER


async def test_one_who_asks_is_sent_to_at_once_although_the_loop_waits(
    house: House, olga: User, mail: Mailing, server: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailing, "PAUSE_S", 0.05)
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    running = asyncio.create_task(mail.run())
    await asyncio.sleep(0.2)
    await _invited(house, olga, "ken@example.com")
    mail.wake()
    async with asyncio.timeout(3):
        while not server.taken:
            await asyncio.sleep(0.02)
    running.cancel()


async def test_nothing_is_sent_in_the_name_of_whoever_may_not_invite_any_more(
    house: House, olga: User, mail: Mailing, server: Office
) -> None:
    ada, _ = await house.join("ada", role=Role.ADMIN, by=olga)
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    await _invited(house, ada, "ken@example.com")
    await house.accounts.set_role(ada.id, Role.MEMBER, by=olga)
    await mail.deliver()
    found = await only_one(house)
    assert found.state is DeliveryState.FAILED and "may not invite" in found.said and not server.taken


async def test_a_sent_one_is_sent_again_only_to_its_own_address(
    house: House, olga: User, mail: Mailing, server: Office
) -> None:
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    await _invited(house, olga, "ken@example.com")
    await mail.deliver()
    found = await only_one(house)
    await asyncio.sleep(0.002)
    await house.invitations.mail_again(found.invitation_id, by=olga)
    await deliveries.note(house.db, replace(found, said="an answer that comes late", state=DeliveryState.FAILED))
    await mail.deliver()
    assert [recipient for recipient, _ in server.taken] == ["ken@example.com"] * 2
    assert len({letter["Message-ID"] for _, letter in server.taken}) == 2
    with pytest.raises(NotFound):
        await house.invitations.mail_again("i0", by=olga)
    await house.invitations.withdraw(found.invitation_id, by=olga)
    assert await house.db.fetch("SELECT * FROM deliveries") == []


async def test_only_admins_do_any_of_it(house: House, olga: User, mail: Mailing, server: Office) -> None:
    for role in (Role.MEMBER, Role.VIEWER):
        user, _ = await house.join(role.value, role=role, by=olga)
        for doing in (
            mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=user),
            mail.remove_server(by=user),
            mail.test("a@example.com", by=user, tongue=ENGLISH),
            house.invitations.invite_by_mail([Guest("Ken", email="k@example.com")], by=user, language="en"),
            house.invitations.mail_again("i0", by=user),
        ):
            with pytest.raises(Forbidden):
                await doing
    with pytest.raises(Conflict, match="No mail server"):
        await mail.test("a@example.com", by=olga, tongue=ENGLISH)


async def test_a_group_is_joined_with_the_account_unless_it_was_removed_since(house: House, olga: User) -> None:
    told: list[str] = []

    async def changed() -> None:
        told.append("changed")

    house.invitations.on_grouped = changed
    for each in ("design", "gone"):
        await groups.add(house.db, rows.group(each))
    guests = [Guest("Ken", group_id="g-design"), Guest("Ada", group_id="g-gone")]
    links = await house.invitations.invite_all(guests, by=olga)
    await groups.delete(house.db, "g-gone")
    for login, link in zip(("ken", "ada"), links, strict=True):
        await house.invitations.accept(link.rpartition("/")[2], login=login, name=login, password="a long password")
    (design,) = await groups.all(house.db)
    assert [house.accounts.get(each).login for each in design.members] == ["ken"] and told == ["changed"]
    with pytest.raises(BadInput, match="no such group"):
        await house.invitations.invite_all([Guest("Eve"), Guest("Max", group_id="g-gone")], by=olga)
    assert await house.invitations.open() == [], "none of them"


async def test_a_derived_link_is_worth_nothing_with_another_key(house: House, olga: User) -> None:
    await _invited(house, olga, "ken@example.com")
    found = await only_one(house)
    house.invitations._key = b"another one"
    with pytest.raises(Gone):
        await house.invitations.to_send(found.invitation_id)

"""Inviting on the dashboard and in the API: by link, by e-mail and from a list; the mail server; new passwords."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

from clawloops.control.smtp import Post
from clawloops.model.account import Role, User
from clawloops.model.mail import Security
from tests.mail_server import PASSWORD, SENDER, USER, Certificates, Office, office
from tests.web.api.program import admin
from tests.web.box import BASE, Box
from tests.web.desk import Desk, browser, desk
from tests.web.test_account import joined

__all__ = ["browser", "desk"]


@pytest.fixture
async def olga(box: Box) -> User:
    return await joined(box, "olga", Role.OWNER)


@pytest.fixture
async def server(box: Box, tmp_path: Path) -> AsyncIterator[Office]:
    certificates = Certificates(tmp_path)
    box.mailing._post = Post(name=BASE, may_reach=lambda _: True, tls=certificates.trusting)
    async with office(Security.STARTTLS, certificates.shown()) as made:
        yield made


def _fields(server: Office, **changed: str) -> dict[str, str]:
    fields = {"host": "localhost", "port": str(server.port), "security": "starttls", "user": USER, "sender": SENDER}
    return {**fields, "secret": PASSWORD, **changed}


async def test_a_mail_server_is_tried_before_it_is_kept_and_what_is_wrong_stands_beside_its_field(
    box: Box, olga: User, server: Office
) -> None:
    token, _ = await box.signed_in(olga)
    for field, value, told in (
        ("host", "no such host", "Give the name"),
        ("port", "x", "A port is a number"),
        ("port", "1", "cannot be used"),
        ("security", "tls", "cannot be used"),
        ("security", "none", "Without encryption"),
        ("user", "", "A password goes with a user"),
        ("secret", "wrong password", "does not let"),
        ("sender", "x", "Give one e-mail address"),
    ):
        reply = await box.send("/members/mail", token, **_fields(server, **{field: value}))
        text = unescape(await reply.text())
        assert reply.status == 400 and told in text, (field, value)
        note = "f-host-note" if value == "1" else f"f-{field}-note"
        assert re.search(rf'<p class="note error" id="{note}">', text), (field, value)
        assert PASSWORD not in text and f'value="{value if field == "host" else "localhost"}"' in text, "input is kept"
    assert box.mailing.server is None
    assert (await box.send("/members/mail", token, **_fields(server))).status == 303
    text = await (await box.page("/members/mail?saved", token)).text()
    assert "took the sign-in" in text and PASSWORD not in unescape(text)
    tested = await box.send("/members/mail/test", token, recipient="olga@example.com", **{"for": "test"})
    assert "The mail server said: Taken as number 7" in await tested.text()
    server.refused["no@example.com"] = "550 nobody"
    refused = await box.send("/members/mail/test", token, recipient="no@example.com", **{"for": "test"})
    assert refused.status == 400 and "550 nobody" in await refused.text()
    assert (await box.send("/members/mail/remove", token)).status == 303
    assert box.mailing.server is None and (await box.page("/members/mail", token)).status == 200


async def test_an_e_mail_takes_the_place_of_the_shown_link_and_its_failure_stands_beside_it(
    box: Box, olga: User, server: Office
) -> None:
    token, _ = await box.signed_in(olga)
    early = await box.send("/members", token, note="Ken", role="member", email="ken@example.com")
    assert early.status == 409 and await box.invitations.open() == [], "without a mail server nothing is promised"
    await box.mailing.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    reply = await box.send("/members", token, note="Ken", role="member", email="ken@example")
    assert reply.status == 303, "an address inside the house"
    wrong = await box.send("/members", token, note="Ada", role="viewer", email="not one")
    assert wrong.status == 400 and 'id="f-email-note">Give one' in await wrong.text()
    server.answers = ["554 <b>no</b> spam here"]
    await box.mailing.deliver()
    text = await (await box.page("/members", token)).text()
    assert "The mail server said: 554 &lt;b&gt;no&lt;/b&gt; spam here" in text and "/join/" not in text
    (invitation,) = await box.invitations.open()
    assert (await box.send(f"/members/invitations/{invitation.id}/again", token)).status == 303
    assert "on its way" in await (await box.page("/members", token)).text()
    await box.mailing.deliver()
    assert "ken@example:" in await (await box.page("/members", token)).text() and len(server.taken) == 1


async def test_a_list_invites_all_or_nobody_and_shows_its_links_once(box: Box, olga: User) -> None:
    token, _ = await box.signed_in(olga)
    await box.groups.make("Design", [], by=olga)
    reply = await box.send("/members/list", token, list="Ada,ada@example.com,Design\nKen,ken@,Nowhere\n")
    text = unescape(await reply.text())
    assert reply.status == 400 and "Line 2: 'ken@' is no e-mail address." in text
    assert "Ada,ada@example.com,Design" in text, "input is kept"
    assert await box.invitations.open() == []
    reply = await box.send("/members/list", token, list='Ada,ada@example.com,Design\n"=cmd()",,,viewer\n')
    text = unescape(await reply.text())
    found = re.search(r'href="data:text/csv;charset=utf-8,([^"]+)"', text)
    assert reply.status == 200 and found
    rows = list(csv.DictReader(io.StringIO(unquote(found[1]))))
    assert [each["name"] for each in rows] == ["Ada", "'=cmd()"], "no formula in a spreadsheet"
    assert [(each["group"], each["role"]) for each in rows] == [("Design", "member"), ("", "viewer")]
    ada = rows[0]["link"].rpartition("/")[2]
    user, _ = await box.invitations.accept(ada, login="ada", name="Ada", password="a long enough password")
    assert user.id in (await box.groups.all())[0].members
    assert rows[1]["link"] not in await (await box.page("/members/list", token)).text()


async def test_a_long_list_is_sent_without_holding_up_the_page(box: Box, olga: User, server: Office) -> None:
    token, _ = await box.signed_in(olga)
    await box.mailing.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    people = "".join(f"Person {number},p{number}@example.com,,member\n" for number in range(150))
    reply = await box.send("/members/list", token, list=people, by_mail="yes")
    assert reply.status == 200 and "150 invitations are on the way" in await reply.text()
    assert server.taken == [], "the page waited for none of them"
    again = await box.send("/members/list", token, list="P,P7@example.com\n", by_mail="yes")
    assert again.status == 400 and "was invited already" in await again.text()
    server.greetings = 0
    assert await box.mailing.deliver() == 0.0
    assert len({recipient for recipient, _ in server.taken}) == 150 and server.greetings == 2
    assert (await box.page("/members", token)).status == 200


@pytest.mark.browser
async def test_a_file_fills_the_list_in_the_browser(box: Box, olga: User, desk: Desk, tmp_path: Path) -> None:
    sheet = tmp_path / "people.csv"
    sheet.write_bytes("\ufeffName;E-Mail\r\nJörg;joerg@example.com\r\n".encode())
    await desk.sign_in(olga)
    page = await desk.context.new_page()
    await page.goto(box.site.origin + "/members/list")
    await page.get_by_label("From a file").set_input_files(sheet)
    await page.wait_for_function("document.getElementById('f-list').value.includes('Jörg')")
    await page.get_by_role("button", name="Invite them").click()
    await page.get_by_role("heading", name="The link").wait_for()
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Download as CSV").click()
    path = await (await download.value).path()
    assert "Jörg,joerg@example.com,,member,http" in Path(path).read_text()


async def test_a_link_for_a_new_password_is_shown_once_and_signs_in_with_it(box: Box, olga: User) -> None:
    mia = await joined(box, "mia")
    token, _ = await box.signed_in(olga)
    text = await (await box.send(f"/members/{mia.id}/reset", token)).text()
    link = re.findall(r'value="http://[^"]+(/reset/[\w-]{43})"', text)[0]
    listed = await (await box.page("/members", token)).text()
    assert link not in listed and "link for a new password" in listed
    door = await box.page(link)
    form = re.findall(r"__Host-cl_form=([^;]+)", door.headers["Set-Cookie"])[0]
    assert "mia" in await door.text()
    headers = {"Origin": box.site.origin, "Cookie": f"__Host-cl_form={form}", "Accept": "text/html"}
    csrf = re.findall(r'name="csrf" value="([^"]+)"', await door.text())[0]
    short = await box.ask("POST", link, headers=headers, data={"csrf": csrf, "password": "short"})
    assert short.status == 400 and "at least 10 characters" in await short.text()
    done = await box.ask("POST", link, headers=headers, data={"csrf": csrf, "password": "quite a new one"})
    assert (done.status, done.headers["Location"]) == (303, "/sign-in")
    assert (await box.page(link)).status == 410
    after, _ = await box.signed_in(mia)
    assert "through a link that Olga made" in await (await box.page("/account", after)).text()


async def test_the_api_tells_of_e_mails_and_repeats_and_withdraws_but_opens_no_way_in(box: Box, server: Office) -> None:
    call = await admin(box)
    assert (await call("GET", "/mail")).body is None
    await box.mailing.set_server(server.settings(Security.STARTTLS), PASSWORD, by=call.user)
    shown = (await call("GET", "/mail")).body
    assert shown["host"] == "localhost" and shown["security"] == "starttls" and PASSWORD not in str(shown)
    token, _ = await box.signed_in(call.user)
    await box.send("/members", token, note="Ken", role="viewer", email="ken@example.com")
    server.refused["ken@example.com"] = "550 nobody"
    await box.mailing.deliver()
    (listed,) = (await call("GET", "/invitations")).body["items"]
    assert (listed["role"], listed["mail"]["state"]) == ("viewer", "failed") and "550 nobody" in listed["mail"]["said"]
    again = await call("POST", f"/invitations/{listed['id']}/mail")
    assert (again.status, again.body["state"]) == (202, "waiting")
    assert (await call("POST", "/invitations/i0/mail")).status == 404
    mia = await joined(box, "mia")
    await box.resets.make(mia.id, drops_factors=False, by=call.user)
    assert (await call("GET", f"/members/{mia.id}")).body["reset_ends_at"]
    assert (await call("DELETE", f"/members/{mia.id}/reset")).status == 204
    assert (await call("DELETE", f"/members/{mia.id}/reset")).status == 404
    assert (await call("DELETE", "/mail")).status == 204
    assert (await call("POST", f"/invitations/{listed['id']}/mail")).status == 409


async def test_what_is_refused_of_an_invitation_is_said_once_and_in_its_own_form(box: Box, olga: User) -> None:
    mia = await joined(box, "mia")
    token, _ = await box.signed_in(olga)
    for fields, told in (
        ({"role": "member", "group": "g-gone"}, "no such group"),
        ({"role": "lord"}, "Choose a role"),
        ({"role": "member", "note": "x" * 300}, "note"),
    ):
        reply = await box.send("/members", token, **{"note": "Ken", **fields})
        text = await reply.text()
        shown = re.findall(r'<p class="(?:banner bad|note error)"[^>]*>([^<]*)</p>', text)
        assert reply.status == 400 and len(shown) == 1 and told in shown[0], shown
    reply = await box.send(f"/members/{mia.id}/role", token, role="owner")
    assert reply.status == 400 and (await reply.text()).count("There is one owner") == 1


async def test_the_owner_makes_an_admin_the_owner_on_the_page_and_is_offered_it_no_more(box: Box, olga: User) -> None:
    ada, mia = await joined(box, "ada", Role.ADMIN), await joined(box, "mia")
    token, _ = await box.signed_in(olga)

    async def offered(of: User) -> bool:
        return f'action="/members/{of.id}/owner"' in await (await box.page(f"/members/{of.id}", token)).text()

    assert await offered(ada) and not await offered(mia) and not await offered(olga)
    assert (await box.send(f"/members/{mia.id}/owner", token)).status == 400
    assert (await box.send(f"/members/{ada.id}/owner", token)).status == 303
    assert not await offered(ada) and (await box.send(f"/members/{ada.id}/owner", token)).status == 403


async def test_each_member_has_a_page_with_what_can_be_done_and_nobody_else_s(box: Box, olga: User) -> None:
    ada, mia = await joined(box, "ada", Role.ADMIN), await joined(box, "mia")
    token, _ = await box.signed_in(ada)

    async def forms(of: str) -> set[str]:
        text = await (await box.page(f"/members/{of}", token)).text()
        return set(re.findall(rf'action="/members/{of}/([\w/-]+)"', text))

    assert await forms(mia.id) == {"role", "reset", "disable"} and await forms(olga.id) == await forms(ada.id) == set()
    reply = await box.send(f"/members/{mia.id}/disable", token)
    assert (reply.status, reply.headers["Location"]) == (303, f"/members/{mia.id}")
    assert await forms(mia.id) == {"enable"}
    assert (await box.page("/members/u-nobody", token)).status == 404
    hers, _ = await box.signed_in(await joined(box, "eve"))
    assert (await box.page(f"/members/{mia.id}", hers)).status == 403


async def test_a_member_reads_on_their_page_who_made_the_link_that_was_used(box: Box, olga: User) -> None:
    mia = await joined(box, "mia")
    link = await box.resets.make(mia.id, drops_factors=False, by=olga)
    await box.resets.use(link.rpartition("/")[2], "a new password")
    await box.resets.make(mia.id, drops_factors=False, by=olga)
    token, _ = await box.signed_in(mia)
    text = await (await box.page("/account", token)).text()
    assert "through a link that Olga made" in text

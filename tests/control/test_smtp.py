"""The mail server: what is said to it and when, where it may be, and what is kept of its password."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Network

import pytest

from clawloops.certificates.authority import new_authority
from clawloops.control import smtp
from clawloops.control.mailing import Mailing
from clawloops.control.smtp import Post, may_be_there
from clawloops.errors import BadInput
from clawloops.log import redactor
from clawloops.model.account import Guest, User
from clawloops.model.mail import MailServer, Security
from clawloops.store import mail_server
from clawloops.store.seal import Sealer
from clawloops.web.languages import ENGLISH, language
from tests.control.conftest import House
from tests.control.mailroom import HOST, certificates, mail, olga, only_one, server
from tests.mail_server import PASSWORD, SENDER, USER, Certificates, Office, office

__all__ = ["certificates", "mail", "olga", "server"]


async def _invited(house: House, by: User, *addresses: str) -> None:
    guests = [Guest(each.split("@")[0], email=each) for each in addresses]
    await house.invitations.invite_by_mail(guests, by=by, language="en")


async def test_each_way_to_encrypt_works_and_signs_in_only_where_nobody_listens(
    house: House, olga: User, mail: Mailing, certificates: Certificates
) -> None:
    for security in Security:
        async with office(security, certificates.shown()) as server:
            password = "" if security is Security.NONE else PASSWORD
            await mail.set_server(server.settings(security), password, by=olga)
            assert await mail.test("ada@example.com", by=olga, tongue=ENGLISH) == "Taken as number 7"
            assert server.signed_in == ([] if security is Security.NONE else [USER] * 2)
            assert len(server.taken) == 1
    with pytest.raises(BadInput, match="can be read on the way") as refused:
        await mail.set_server(MailServer("localhost", 25, Security.NONE, USER, SENDER), PASSWORD, by=olga)
    assert refused.value.field == "security"


async def test_no_word_is_said_to_whoever_offers_no_starttls_or_shows_a_wrong_certificate(
    house: House, olga: User, mail: Mailing, certificates: Certificates
) -> None:
    async with office(Security.STARTTLS, certificates.shown(), offers_tls=False) as server:
        with pytest.raises(BadInput, match="STARTTLS") as refused:
            await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
        assert (refused.value.field, server.signed_in) == ("security", [])
    stranger = new_authority("localhost", now=datetime.now(UTC))
    for security in (Security.STARTTLS, Security.TLS):
        for context in (certificates.shown(by=stranger), certificates.shown(base="other.localhost")):
            async with office(security, context) as server:
                with pytest.raises(BadInput, match="certificate of localhost port") as refused:
                    await mail.set_server(server.settings(security), PASSWORD, by=olga)
                assert (refused.value.field, server.signed_in) == ("security", [])
    assert mail.server is None


async def test_a_wrong_password_is_told_beside_its_field_and_in_no_spelling(
    house: House, olga: User, mail: Mailing, server: Office
) -> None:
    server.echoes_sign_in = True
    with pytest.raises(BadInput, match=r"does not let box@example\.org in: 535") as refused:
        await mail.set_server(server.settings(Security.STARTTLS), "not-the-right-one", by=olga)
    assert refused.value.field == "secret" and "not-the-right-one" not in str(refused.value)
    assert mail.server is None and not await mail_server.get(house.db, house.sealer)


_INSIDE = ("127.0.0.1", "::1", "169.254.169.254", "::ffff:10.201.0.2", "10.201.31.254", "0.0.0.0", "::")
_OUTSIDE = ("192.168.1.20", "10.0.0.5", "172.17.0.1", "93.184.215.14", "2606:2800:21f::1")


@pytest.mark.parametrize("host", _INSIDE)
def test_no_mail_server_is_in_a_workspace_or_in_this_container(host: str) -> None:
    assert not may_be_there(host, pool=IPv4Network("10.201.0.0/19"))


@pytest.mark.parametrize("host", _OUTSIDE)
def test_one_may_be_on_the_internet_or_in_the_house(host: str) -> None:
    assert may_be_there(host, pool=IPv4Network("10.201.0.0/19"))


async def test_a_name_that_leads_into_a_workspace_is_not_connected_to(house: House, olga: User, server: Office) -> None:
    post = Post(name=HOST, may_reach=lambda address: may_be_there(address, pool=IPv4Network("10.201.0.0/19")))
    mail = Mailing(house.db, house.sealer, house.invitations, house.audit, post=post, base=HOST, tongue=language)
    with pytest.raises(BadInput, match="leads to a workspace") as refused:
        await mail.set_server(server.settings(Security.NONE), "", by=olga)
    assert (refused.value.field, server.greetings) == ("host", 0)


async def test_what_the_server_quotes_of_an_e_mail_does_not_tell_its_link(
    house: House, olga: User, mail: Mailing, server: Office
) -> None:
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    await _invited(house, olga, "ken@example.com")
    server.answers = ["554 this is spam: CONTENT"]
    await mail.deliver()
    token = re.findall(r"/join/([\w-]{43})", server.bodies[0].decode().replace("=\r\n", ""))[0]
    found = await only_one(house)
    assert "this is spam" in found.said and len(found.said) < 350 and token not in found.said
    masked = smtp._masked(f"554 {token} {PASSWORD}", (token, PASSWORD))
    assert masked == "554 [secret] [secret]"


async def test_the_password_is_sealed_for_one_server_and_user(
    house: House, olga: User, mail: Mailing, server: Office
) -> None:
    known = server.settings(Security.STARTTLS)
    await mail.set_server(known, PASSWORD, by=olga)
    await mail.set_server(replace(known, sender="other@example.org"), "", by=olga)
    for other in (replace(known, host="127.0.0.1"), replace(known, user="x"), replace(known, port=known.port + 1)):
        with pytest.raises(BadInput, match="kept for one server") as refused:
            await mail.set_server(other, "", by=olga)
        assert refused.value.field == "secret"
    kept = str(await house.db.fetch("SELECT * FROM meta"))
    assert "mail:server" in kept and PASSWORD not in kept
    assert PASSWORD not in redactor.scrub(f"what a log says of {PASSWORD}")
    await house.db.execute(
        "UPDATE meta SET value = replace(value, 'localhost', 'evil.example') WHERE key = 'mail:server'"
    )
    await mail.load()
    assert mail.trouble, "what was put beside another server does not open"


async def test_a_new_master_key_takes_the_password_along(
    house: House, olga: User, mail: Mailing, server: Office
) -> None:
    await mail.set_server(server.settings(Security.STARTTLS), PASSWORD, by=olga)
    new = Sealer(bytes(31) + b"\x01", install_id="0a1b2c3d")
    await mail_server.reseal(house.db, house.sealer, new)
    found = await mail_server.get(house.db, new)
    assert found == (mail.server, PASSWORD)

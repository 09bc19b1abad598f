"""A box that sends e-mails to a real mail server, which a test holds in its hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clawloops.control.mailing import Mailing
from clawloops.control.smtp import Post
from clawloops.model.account import Role, User
from clawloops.model.mail import Delivery, Security
from clawloops.web.languages import language
from tests.control.conftest import House
from tests.mail_server import Certificates, Office, office

HOST = "clawloops.localhost"


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


@pytest.fixture
async def olga(house: House) -> User:
    user, _ = await house.join("olga", role=Role.OWNER)
    return user


@pytest.fixture
def mail(house: House, certificates: Certificates) -> Mailing:
    post = Post(name=HOST, may_reach=lambda _: True, tls=certificates.trusting)
    return Mailing(house.db, house.sealer, house.invitations, house.audit, post=post, base=HOST, tongue=language)


@pytest.fixture
async def server(certificates: Certificates) -> AsyncIterator[Office]:
    async with office(Security.STARTTLS, certificates.shown()) as made:
        yield made


async def only_one(house: House) -> Delivery:
    (found,) = await house.invitations.deliveries()
    return found

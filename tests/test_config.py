"""What the settings refuse, and what they say of it."""

from __future__ import annotations

import pytest

from clawloops.config import load
from clawloops.errors import SetupError

NEEDED = {"CLAWLOOPS_INSTALL_ID": "0a0b0c0d"}


@pytest.mark.attacks(19)
@pytest.mark.parametrize(
    "address",
    [
        "postgresql://clawloops:a-canary@postgres/clawloops",
        "postgresql://:a-canary@postgres/clawloops",
        "postgresql://clawloops@postgres/clawloops?sslmode=require&password=a-canary",
    ],
)
def test_a_password_in_the_databases_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(SetupError, match="CLAWLOOPS_DATABASE_PASSWORD_FILE") as refused:
        load({**NEEDED, "CLAWLOOPS_DATABASE_URL": address})
    assert "a-canary" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://clawloops@postgres:5432/clawloops?search_path=a:b@c",
        "postgresql://postgres/clawloops",
        "sqlite:////data/a:b@c.db",
    ],
)
def test_an_address_without_one_is_taken(address: str) -> None:
    assert load({**NEEDED, "CLAWLOOPS_DATABASE_URL": address}).database_url == address

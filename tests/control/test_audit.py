"""What is written of refusals, which anybody can bring about as often as they like."""

from __future__ import annotations

import pytest

from clawloops.clock import steady_ms
from clawloops.control import audit
from clawloops.control.audit import REFUSALS
from clawloops.errors import NotSignedIn
from tests.control.conftest import House


async def test_refusals_without_end_fill_no_disk_and_their_number_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    olga, _ = await house.join("olga")
    for number in range(REFUSALS + 40):
        await house.audit.record_refused(None, "token refused", "", f"192.0.2.{number}")
    await house.audit.record(olga.id, "budget set", "box")
    entries = await house.audit.latest(1000)
    assert sum(each.action == "token refused" for each in entries) == REFUSALS
    assert entries[0].action == "budget set", "what people do is written all the while"
    later = steady_ms() + 3_600_001
    monkeypatch.setattr(audit, "steady_ms", lambda: later)
    await house.audit.record_refused(olga.id, "code refused", "olga")
    await house.audit.record_refused(None, "token refused", "", "192.0.2.1")
    last, told = await house.audit.latest(2)
    assert told.detail == "40 refusals before it were not written" and told.actor == olga.id
    assert last.detail == "192.0.2.1"
    assert not (await house.audit.verify()).why


async def test_wrong_passwords_of_many_addresses_count_among_them(house: House) -> None:
    await house.join("olga")
    for _ in range(REFUSALS):
        await house.audit.record_refused(None, "token refused", "")
    with pytest.raises(NotSignedIn):
        await house.accounts.check_password("olga", "not hers at all", "192.0.2.7")
    assert {each.action for each in await house.audit.latest(REFUSALS)} == {"token refused"}

"""From a right password to a session where there is a second factor: one browser, one step, five minutes."""

from __future__ import annotations

import asyncio

import pytest

from clawloops.clock import steady_ms
from clawloops.control import entrance as rules
from clawloops.control.entrance import Entered, Halfway
from clawloops.control.throttle import PER_ACCOUNT
from clawloops.errors import BadInput, NotSignedIn, TooManyAttempts
from clawloops.model.account import User
from tests.control.conftest import PASSWORD, House
from tests.control.test_factors import HERE, Watch, session_of, watch, with_app

__all__ = ["watch"]


async def _halfway(house: House, login: str = "ada") -> str:
    came = await house.entrance.by_password(login, PASSWORD, HERE, onward="/keys")
    assert isinstance(came, Halfway)
    return came.token


@pytest.fixture
async def ada(house: House) -> User:
    return (await house.join("ada"))[0]


async def test_without_a_second_factor_a_password_is_enough(house: House, ada: User) -> None:
    came = await house.entrance.by_password("ada", PASSWORD, HERE)
    assert isinstance(came, Entered) and house.accounts.user_of(came.token) is not None


async def test_with_one_it_is_half_the_way_and_a_code_the_other(house: House, ada: User, watch: Watch) -> None:
    secret, codes = await with_app(house, ada, watch)
    for code in (watch.code(secret), codes[0]):
        half = await _halfway(house)
        assert house.accounts.user_of(half) is None
        entered = await house.entrance.by_second(half, code=code, address=HERE)
        found = house.accounts.user_of(entered.token)
        assert found is not None and found[0].id == ada.id and entered.onward == "/keys" and entered.token != half
        assert house.sessions.is_proved(found[1])
    newest = [each.detail for each in await house.audit.latest() if each.action == "signed in"]
    assert newest[:2] == ["with a password and a recovery code", "with a password and a code"]


async def test_what_is_no_half_session_leads_nowhere(house: House, ada: User, watch: Watch) -> None:
    secret, _ = await with_app(house, ada, watch)
    for token in ("", "x" * 43):
        with pytest.raises(NotSignedIn):
            await house.entrance.by_second(token, code=watch.code(secret), address=HERE)


async def test_a_half_session_ends_after_five_minutes(
    house: House, ada: User, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, _ = await with_app(house, ada, watch)
    half = await _halfway(house)
    later = steady_ms() + rules.HALF_VALID_MS + 1
    monkeypatch.setattr(rules, "steady_ms", lambda: later)
    with pytest.raises(NotSignedIn, match="too long"):
        await house.entrance.by_second(half, code=watch.code(secret), address=HERE)


async def test_a_half_session_is_used_once_even_by_several_at_a_time(house: House, ada: User, watch: Watch) -> None:
    _, codes = await with_app(house, ada, watch)
    half, before = await _halfway(house), len(house.sessions.of(ada.id))
    came_of = await asyncio.gather(
        *(house.entrance.by_second(half, code=each, address=HERE) for each in codes[:4]), return_exceptions=True
    )
    assert sum(isinstance(each, Entered) for each in came_of) == 1 and len(house.sessions.of(ada.id)) == before + 1
    with pytest.raises(NotSignedIn):
        await house.entrance.by_second(half, code=codes[5], address=HERE)


async def test_a_wrong_code_leaves_it_good(house: House, ada: User, watch: Watch) -> None:
    secret, _ = await with_app(house, ada, watch)
    half = await _halfway(house)
    with pytest.raises(BadInput):
        await house.entrance.by_second(half, code="nonsense", address=HERE)
    await house.entrance.by_second(half, code=watch.code(secret), address=HERE)


async def test_a_code_of_somebody_else_does_not_end_my_half(house: House, ada: User, watch: Watch) -> None:
    ben, _ = await house.join("ben", by=ada)
    bens, _ = await with_app(house, ben, watch)
    await with_app(house, ada, watch)
    half = await _halfway(house)
    with pytest.raises(BadInput):
        await house.entrance.by_second(half, code=watch.code(bens), address=HERE)


@pytest.mark.parametrize("what", ["new password", "reset", "disabled"])
async def test_a_half_session_ends_with_its_password_and_with_its_member(
    house: House, ada: User, watch: Watch, what: str
) -> None:
    ben, _ = await house.join("ben", by=ada)
    secret, _ = await with_app(house, ben, watch)
    half = await _halfway(house, "ben")
    match what:
        case "new password":
            await house.accounts.change_password(
                PASSWORD, "quite another one", by=ben, keep=session_of(house, ben), address=HERE
            )
        case "reset":
            await house.accounts.new_password("ben")
        case _:
            await house.accounts.disable(ben.id, by=ada)
    assert house.entrance.halfway(half) is None
    with pytest.raises(NotSignedIn):
        await house.entrance.by_second(half, code=watch.code(secret), address=HERE)


@pytest.mark.parametrize("answer", ["", "{}", "[]", "null", "[" * 40_000, '{"rawId": 7, "response": {}}', "\ud800"])
async def test_what_is_no_answer_of_a_passkey_is_refused(house: House, ada: User, answer: str) -> None:
    with pytest.raises(NotSignedIn, match="not accepted"):
        await house.entrance.by_passkey(answer, tied_to="x", address=HERE)


@pytest.mark.attacks(20)
async def test_what_is_no_passkey_does_not_fill_the_audit(house: House) -> None:
    came_of = [await _refusal(house, HERE) for _ in range(20)]
    assert came_of == [NotSignedIn] * PER_ACCOUNT + [TooManyAttempts] * (20 - PER_ACCOUNT)
    assert await _refusal(house, "192.0.2.2") is NotSignedIn, "another address has its own count"
    assert len(await house.audit.latest()) == PER_ACCOUNT + 1


async def _refusal(house: House, address: str) -> type[Exception]:
    with pytest.raises((NotSignedIn, TooManyAttempts)) as refused:
        await house.entrance.by_passkey("{}", tied_to="x", address=address)
    return refused.type


async def test_a_proof_is_worth_ten_minutes(
    house: House, ada: User, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(house, ada)
    now = watch.now
    monkeypatch.setattr("clawloops.control.sessions.now_ms", lambda: now)
    await house.entrance.prove(session, by=ada, password=PASSWORD, address=HERE)
    for minutes, is_recent in ((0, True), (9, True), (10, False), (-60, False)):
        now = watch.now + minutes * 60_000
        assert house.sessions.is_proved(session) is is_recent, minutes
    with pytest.raises(BadInput):
        await house.entrance.prove(session, by=ada, password="wrong", address=HERE)
    assert not house.sessions.is_proved(session)
    now = watch.now
    secret, _ = await with_app(house, ada, watch)
    now = watch.now + 60 * 60_000
    await house.entrance.prove(session, by=ada, code=watch.code(secret), address=HERE)
    assert house.sessions.is_proved(session)

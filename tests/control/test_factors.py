"""Second factors: each code counts once, guesses are few, and nobody loses theirs unseen."""

from __future__ import annotations

import asyncio

import pytest

from clawloops.clock import now_ms, steady_ms
from clawloops.control import factors as rules
from clawloops.control import totp
from clawloops.control.throttle import PER_ACCOUNT
from clawloops.errors import BadInput, Forbidden, SealBroken, TooManyAttempts
from clawloops.model.account import Role, Session, User
from clawloops.model.factor import Requirement
from tests.control.conftest import PASSWORD, House

HERE = "192.0.2.1"


class Watch:
    """The time that codes are checked against."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = now_ms()
        monkeypatch.setattr(rules, "now_ms", lambda: self.now)

    def next_step(self) -> None:
        self.now += totp.STEP_MS

    def code(self, secret: str, *, off: int = 0) -> str:
        return totp.code_of(secret, self.now // totp.STEP_MS + off)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def session_of(house: House, user: User) -> Session:
    return house.sessions.of(user.id)[0]


async def with_app(house: House, user: User, watch: Watch) -> tuple[str, list[str]]:
    """The secret of an app that was set up, and the recovery codes that came with it."""
    session = session_of(house, user)
    secret = house.factors.begin_app(by=user, session=session).secret
    codes = await house.factors.confirm_app(watch.code(secret), by=user, session=session)
    watch.next_step()
    return secret, codes


async def told(house: House) -> list[str]:
    return [each.action for each in await house.audit.latest()]


async def test_an_app_counts_once_a_code_of_it_was_right(house: House, watch: Watch) -> None:
    ada, _ = await house.join("ada")
    session = session_of(house, ada)
    setup = house.factors.begin_app(by=ada, session=session)
    assert setup.secret in setup.address and "ada%40clawloops.localhost" in setup.address
    with pytest.raises(BadInput) as refused:
        await house.factors.confirm_app("000000", by=ada, session=session)
    assert refused.value.field == "code" and not (await house.factors.of(ada.id)).has_factor
    code = watch.code(setup.secret)
    codes = await house.factors.confirm_app(f" {code[:3]} {code[3:]}", by=ada, session=session)
    assert len(set(codes)) == 10
    standing = await house.factors.of(ada.id)
    assert standing.has_factor and standing.codes_left == 10 and house.factors.is_held_by(ada.id)
    with pytest.raises(BadInput):
        await house.factors.check_code(code, of=ada, address=HERE)  # it confirmed the app, and is used up by that


async def test_a_secret_that_is_being_set_up_is_one_sessions_alone_and_for_ten_minutes(
    house: House, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, _ = await house.join("ada")
    session = session_of(house, ada)
    secret = house.factors.begin_app(by=ada, session=session).secret
    await house.accounts.begin_session(ada)
    other = next(each for each in house.sessions.of(ada.id) if each.hash != session.hash)
    with pytest.raises(BadInput, match="Begin anew"):
        await house.factors.confirm_app(watch.code(secret), by=ada, session=other)
    later = steady_ms() + rules.SETUP_VALID_MS + 1
    monkeypatch.setattr(rules, "steady_ms", lambda: later)
    with pytest.raises(BadInput, match="Begin anew"):
        await house.factors.confirm_app(watch.code(secret), by=ada, session=session)


async def test_a_code_counts_once_also_when_it_is_sent_twice_at_once(house: House, watch: Watch) -> None:
    ada, _ = await house.join("ada")
    secret, _ = await with_app(house, ada, watch)
    code = watch.code(secret)
    came_of = await asyncio.gather(
        *(house.factors.check_code(code, of=ada, address=HERE) for _ in range(6)), return_exceptions=True
    )
    assert came_of.count("a code") == 1 and sum(isinstance(each, BadInput) for each in came_of) == 5


async def test_after_a_code_none_of_an_earlier_step_counts(house: House, watch: Watch) -> None:
    ada, _ = await house.join("ada")
    secret, _ = await with_app(house, ada, watch)
    await house.factors.check_code(watch.code(secret, off=1), of=ada, address=HERE)
    for off in (-1, 0, 1):
        with pytest.raises(BadInput):
            await house.factors.check_code(watch.code(secret, off=off), of=ada, address=HERE)
    watch.next_step()
    watch.next_step()
    await house.factors.check_code(watch.code(secret), of=ada, address=HERE)


async def test_a_recovery_code_counts_once_however_it_is_typed(house: House, watch: Watch) -> None:
    ada, _ = await house.join("ada")
    _, codes = await with_app(house, ada, watch)
    sloppy = codes[0].upper().replace("-", " ").replace("0", "O").replace("1", "l")
    came_of = await asyncio.gather(
        *(house.factors.check_code(sloppy, of=ada, address=HERE) for _ in range(4)), return_exceptions=True
    )
    assert came_of.count("a recovery code") == 1
    standing = await house.factors.of(ada.id)
    assert standing.codes_left == 9 and standing.code_used_at is not None
    used = next(each for each in await house.audit.latest() if each.action == "recovery code used")
    assert (used.actor, used.detail) == (ada.id, "9 left")
    ben, _ = await house.join("ben", by=ada)
    await with_app(house, ben, watch)
    with pytest.raises(BadInput):
        await house.factors.check_code(codes[1], of=ben, address=HERE)


async def test_new_recovery_codes_end_those_of_before_and_are_hashes_in_the_store(house: House, watch: Watch) -> None:
    ada, _ = await house.join("ada")
    with pytest.raises(BadInput, match="first"):
        await house.factors.renew_codes(by=ada)
    _, codes = await with_app(house, ada, watch)
    fresh = await house.factors.renew_codes(by=ada)
    with pytest.raises(BadInput):
        await house.factors.check_code(codes[0], of=ada, address=HERE)
    assert await house.factors.check_code(fresh[0], of=ada, address=HERE) == "a recovery code"
    kept = repr(await house.db.fetch("SELECT * FROM recovery_codes"))
    assert not any(each in kept or each.replace("-", "") in kept for each in fresh)


async def test_the_secret_is_sealed_for_its_member_alone(house: House, watch: Watch) -> None:
    ada, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=ada)
    secret, _ = await with_app(house, ada, watch)
    await with_app(house, ben, watch)
    assert secret.encode() not in repr(await house.db.fetch("SELECT * FROM authenticators")).encode()
    await house.db.execute(
        """UPDATE authenticators SET wrapped = (SELECT wrapped FROM authenticators WHERE user_id = $1),
        nonce = (SELECT nonce FROM authenticators WHERE user_id = $1),
        ciphertext = (SELECT ciphertext FROM authenticators WHERE user_id = $1) WHERE user_id = $2""",
        *(ada.id, ben.id),
    )
    with pytest.raises(SealBroken):
        await house.factors.check_code(watch.code(secret), of=ben, address=HERE)


@pytest.mark.attacks(20)
async def test_guesses_are_few_and_a_right_password_does_not_begin_them_anew(house: House, watch: Watch) -> None:
    ada, _ = await house.join("ada")
    secret, codes = await with_app(house, ada, watch)
    wrong = f"{(int(watch.code(secret)) + 1) % 10**6:06d}"
    came_of: list[BaseException | str] = []
    for number in range(30):
        await house.accounts.check_password("ada", PASSWORD, HERE)
        tries = (house.factors.check_code(wrong, of=ada, address=f"198.51.100.{number}") for _ in range(2))
        came_of += await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(each, BadInput) for each in came_of) == PER_ACCOUNT
    assert sum(isinstance(each, TooManyAttempts) for each in came_of) == 60 - PER_ACCOUNT
    for right in (watch.code(secret), codes[0]):
        with pytest.raises(TooManyAttempts):
            await house.factors.check_code(right, of=ada, address=HERE)


async def test_an_app_on_a_new_phone_takes_the_place_of_the_old_one(house: House, watch: Watch) -> None:
    ada, _ = await house.join("ada")
    old, codes = await with_app(house, ada, watch)
    new, more = await with_app(house, ada, watch)
    assert more == [] and len(codes) == 10
    with pytest.raises(BadInput):
        await house.factors.check_code(watch.code(old), of=ada, address=HERE)
    await house.factors.check_code(watch.code(new), of=ada, address=HERE)


async def test_with_the_last_factor_the_recovery_codes_end(house: House, watch: Watch) -> None:
    ada, _ = await house.join("ada")
    await with_app(house, ada, watch)
    await house.factors.remove_app(by=ada)
    await house.factors.remove_app(by=ada)  # from a second tab
    standing = await house.factors.of(ada.id)
    assert not standing.has_factor and standing.codes_left == 0 and not house.factors.is_held_by(ada.id)
    assert (await told(house)).count("authenticator app removed") == 1


async def test_an_admin_removes_what_a_member_has_lost_and_signs_them_out(house: House, watch: Watch) -> None:
    ada, _ = await house.join("ada")
    eve, _ = await house.join("eve", by=ada, role=Role.ADMIN)
    ben, cookie = await house.join("ben", by=ada)
    for each in (ada, ben):
        await with_app(house, each, watch)
    with pytest.raises(Forbidden):
        await house.factors.clear(eve, by=ben)
    with pytest.raises(Forbidden, match="on the box"):
        await house.factors.clear(ada, by=eve)
    await house.factors.clear(ben, by=eve)
    assert not (await house.factors.of(ben.id)).has_factor and house.accounts.user_of(cookie) is None
    assert (await house.factors.of(ada.id)).has_factor
    entry = next(each for each in await house.audit.latest() if each.action == "second factors removed")
    assert (entry.actor, entry.subject) == (eve.id, "ben")


async def test_who_needs_one_is_a_setting_that_outlives_a_restart(house: House, watch: Watch) -> None:
    ada, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=ada)
    with pytest.raises(Forbidden):
        await house.factors.require(Requirement.OFF, by=ben)
    seen = []
    for requirement in Requirement:
        await house.factors.require(requirement, by=ada)
        house.factors.requirement = Requirement.OFF
        await house.factors.load()
        seen.append((house.factors.is_missing(ada), house.factors.is_missing(ben)))
    assert seen == [(False, False), (True, False), (True, True)]
    await with_app(house, ben, watch)
    assert (house.factors.is_missing(ada), house.factors.is_missing(ben)) == (True, False)

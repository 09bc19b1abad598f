"""Sign-in, invitations and sessions: what lets a person in, and what shuts one out at once."""

from __future__ import annotations

import asyncio

import pytest

from clawloops.clock import now_ms
from clawloops.control import sessions as session_rules
from clawloops.control.accounts import Accounts
from clawloops.control.sessions import Sessions
from clawloops.control.throttle import PER_ACCOUNT
from clawloops.errors import BadInput, Forbidden, Gone, NotSignedIn, TooManyAttempts
from clawloops.model.account import Role, SessionKind, User
from clawloops.store import users
from clawloops.store.db import Database
from tests.control.conftest import PASSWORD, House


async def test_the_set_up_link_makes_the_owner_and_then_no_other_one_is_given(house: House) -> None:
    first = await house.invitations.setup_link()
    second = await house.invitations.setup_link()
    assert first and second and first != second
    with pytest.raises(Gone):
        await house.invitations.peek(first.rsplit("/", 1)[1])

    user, cookie = await house.invitations.accept(
        second.rsplit("/", 1)[1], login=" Ada ", name="Ada", password=PASSWORD
    )
    assert (user.role, user.login) == (Role.OWNER, "ada")
    assert house.accounts.user_of(cookie) is not None
    assert await house.invitations.setup_link() is None


async def test_an_invitation_is_used_once_even_by_twenty_at_a_time(house: House) -> None:
    owner, _ = await house.join("ada")
    link = await house.invitations.invite(role=Role.MEMBER, note="for the team", by=owner)
    token = link.rsplit("/", 1)[1]
    tries = [
        house.invitations.accept(token, login=f"guest{number}", name="Guest", password=PASSWORD) for number in range(20)
    ]
    results = await asyncio.gather(*tries, return_exceptions=True)
    joined = [each for each in results if isinstance(each, tuple)]
    assert len(joined) == 1
    assert all(isinstance(each, Gone) for each in results if not isinstance(each, tuple))
    assert len(house.accounts.members()) == 2


async def test_a_wrong_field_leaves_the_invitation_good(house: House) -> None:
    owner, _ = await house.join("ada")
    token = (await house.invitations.invite(role=Role.MEMBER, note="", by=owner)).rsplit("/", 1)[1]
    for fields, wrong in (
        ({"login": "ada", "name": "X", "password": PASSWORD}, "login"),
        ({"login": "no spaces", "name": "X", "password": PASSWORD}, "login"),
        ({"login": "ben", "name": "  ", "password": PASSWORD}, "name"),
        ({"login": "ben", "name": "Ben", "password": "short"}, "password"),
    ):
        with pytest.raises(BadInput) as refused:
            await house.invitations.accept(token, **fields)
        assert refused.value.field == wrong
    assert (await house.invitations.accept(token, login="ben", name="Ben", password=PASSWORD))[0].login == "ben"


async def test_an_expired_invitation_is_gone(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, _ = await house.join("ada")
    token = (await house.invitations.invite(role=Role.MEMBER, note="", by=owner)).rsplit("/", 1)[1]
    later = now_ms() + 8 * 86_400_000
    monkeypatch.setattr("clawloops.control.invitations.now_ms", lambda: later)
    with pytest.raises(Gone, match="Ask for a new one"):
        await house.invitations.peek(token)


async def test_an_invitation_ends_with_the_admin_who_gave_it(house: House) -> None:
    owner, _ = await house.join("ada")
    eve, _ = await house.join("eve", by=owner, role=Role.ADMIN)
    token = (await house.invitations.invite(role=Role.ADMIN, note="", by=eve)).rsplit("/", 1)[1]
    await house.accounts.disable(eve.id, by=owner)
    with pytest.raises(Gone):
        await house.invitations.peek(token)


async def test_a_member_cannot_invite(house: House) -> None:
    owner, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=owner)
    with pytest.raises(Forbidden):
        await house.invitations.invite(role=Role.MEMBER, note="", by=ben)


async def test_sign_in_tells_nothing_about_which_part_was_wrong(house: House) -> None:
    await house.join("ada")
    with pytest.raises(NotSignedIn) as wrong_password:
        await house.accounts.check_password("ada", "something else", "192.0.2.1")
    with pytest.raises(NotSignedIn) as wrong_login:
        await house.accounts.check_password("eve", PASSWORD, "192.0.2.1")
    assert str(wrong_password.value) == str(wrong_login.value)
    assert (await house.accounts.check_password("ADA", PASSWORD, "192.0.2.1")).login == "ada"


async def test_guessing_is_throttled_per_account_and_the_right_password_waits_too(house: House) -> None:
    await house.join("ada")
    for _ in range(PER_ACCOUNT):
        with pytest.raises(NotSignedIn):
            await house.accounts.check_password("ada", "guess", "192.0.2.1")
    with pytest.raises(TooManyAttempts) as refused:
        await house.accounts.check_password("ada", PASSWORD, "192.0.2.2")
    assert refused.value.retry_after_s > 0


@pytest.mark.attacks(20)
async def test_of_many_guesses_at_once_no_more_are_looked_at(house: House) -> None:
    await house.join("ada")
    tries = (house.accounts.check_password("ada", "guess", f"192.0.2.{n}") for n in range(30))
    came_of = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(each, NotSignedIn) for each in came_of) == PER_ACCOUNT
    assert sum(isinstance(each, TooManyAttempts) for each in came_of) == 30 - PER_ACCOUNT


async def test_who_signs_in_over_and_over_from_one_address_is_not_slowed_down(house: House) -> None:
    await house.join("ada")
    for _ in range(35):
        await house.accounts.check_password("ada", PASSWORD, "192.0.2.1")


async def test_disabling_a_member_ends_every_session_now_and_tells_the_relay(house: House) -> None:
    owner, _ = await house.join("ada")
    ben, cookie = await house.join("ben", by=owner)
    found = house.accounts.user_of(cookie)
    assert found is not None
    stopped: list[str] = []

    async def note(user_id: str) -> None:
        stopped.append(user_id)

    house.accounts.on_disabled = note
    with house.sessions.on_revoked.subscribe(found[1].hash.hex()) as revoked:
        await house.accounts.disable(ben.id, by=owner)
        assert (await asyncio.wait_for(anext(revoked), 1)).user_id == ben.id
    assert house.accounts.user_of(cookie) is None
    assert stopped == [ben.id]
    with pytest.raises(NotSignedIn):
        await house.accounts.check_password("ben", PASSWORD, "192.0.2.1")
    await house.accounts.enable(ben.id, by=owner)
    await house.accounts.check_password("ben", PASSWORD, "192.0.2.1")


async def test_nobody_disables_the_owner_and_no_member_disables_anybody(house: House) -> None:
    owner, _ = await house.join("ada")
    ben, _ = await house.join("ben", by=owner)
    eve, _ = await house.join("eve", by=owner, role=Role.ADMIN)
    with pytest.raises(Forbidden):
        await house.accounts.disable(owner.id, by=eve)
    with pytest.raises(Forbidden):
        await house.accounts.disable(eve.id, by=ben)


async def test_sessions_survive_a_restart_and_end_when_idle_or_old(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, cookie = await house.join("ada")
    sessions = Sessions(house.db)
    await sessions.load()
    accounts = Accounts(house.db, sessions, house.audit)
    await accounts.load()
    assert accounts.user_of(cookie) is not None

    now = now_ms()
    monkeypatch.setattr(session_rules, "now_ms", lambda: now + session_rules.HOUR_MS + 1000)
    assert accounts.user_of(cookie) is None


async def test_a_session_in_use_ends_when_it_is_old(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cookie = await house.join("ada")
    began, clock = now_ms(), [0]
    monkeypatch.setattr(session_rules, "now_ms", lambda: began + clock[0])
    for clock[0] in range(0, 12 * session_rules.HOUR_MS - 60_000, session_rules.HOUR_MS // 2):
        assert house.accounts.user_of(cookie) is not None
    clock[0] = 12 * session_rules.HOUR_MS + 1000
    assert house.accounts.user_of(cookie) is None


async def test_a_page_that_is_left_open_does_not_keep_a_session_that_nobody_uses(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, cookie = await house.join("ada")
    found = house.accounts.user_of(cookie)
    assert found is not None and house.sessions.is_live(found[1])
    later = now_ms() + session_rules.HOUR_MS + 1000
    monkeypatch.setattr(session_rules, "now_ms", lambda: later)
    assert not house.sessions.is_live(found[1])


async def test_signing_out_ends_the_workspace_session_that_came_from_it(house: House) -> None:
    user, cookie = await house.join("ada")
    found = house.accounts.user_of(cookie)
    assert found is not None
    runtime = await house.runtimes.open(user)
    token, inner = await house.sessions.issue(user.id, SessionKind.WORKSPACE, runtime_id=runtime.id, parent=found[1])
    assert inner.expires_at <= found[1].expires_at
    assert house.sessions.find(token, SessionKind.WORKSPACE) == inner
    assert house.sessions.find(token, SessionKind.DASHBOARD) is None
    await house.accounts.sign_out(found[1])
    assert house.sessions.find(token, SessionKind.WORKSPACE) is None
    restarted = Sessions(house.db)
    await restarted.load()
    assert restarted.find(token, SessionKind.WORKSPACE) is None


async def test_who_signs_in_with_a_password_that_is_replaced_meanwhile_is_not_let_in(house: House) -> None:
    ada, token = await house.join("ada")
    found = house.accounts.user_of(token)
    assert found is not None
    stale = await house.accounts.check_password("ada", PASSWORD, "192.0.2.1")
    await house.accounts.change_password(PASSWORD, "another long password", by=ada, keep=found[1], address="192.0.2.1")
    with pytest.raises(NotSignedIn, match="changed just now"):
        await house.accounts.begin_session(stale)
    assert [each.hash for each in house.accounts.sessions_of(ada)] == [found[1].hash]
    max_, _ = await house.join("max", by=ada)
    await house.accounts.disable(max_.id, by=house.accounts.get(ada.id))
    with pytest.raises(NotSignedIn):
        await house.accounts.begin_session(max_)
    await house.accounts.enable(max_.id, by=house.accounts.get(ada.id))
    assert house.accounts.sessions_of(max_) == []


async def test_guesses_from_outside_do_not_keep_a_signed_in_member_from_proving_themselves(house: House) -> None:
    ada, _ = await house.join("ada")
    for _ in range(PER_ACCOUNT):
        with pytest.raises(NotSignedIn):
            await house.accounts.check_password("ada", "a wrong password", "203.0.113.9")
    with pytest.raises(TooManyAttempts):
        await house.accounts.check_password("ada", PASSWORD, "203.0.113.9")
    await house.accounts.check_own_password(PASSWORD, by=ada, address="192.0.2.1")
    for _ in range(PER_ACCOUNT):
        with pytest.raises(BadInput):
            await house.accounts.check_own_password("a wrong password", by=ada, address="192.0.2.1")
    with pytest.raises(TooManyAttempts):
        await house.accounts.check_own_password(PASSWORD, by=ada, address="192.0.2.1")


async def test_following_another_process_never_undoes_what_happens_meanwhile(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, _ = await house.join("ada")
    max_, _ = await house.join("max", by=ada)
    read, held, go = users.all, asyncio.Event(), asyncio.Event()

    async def slowly(db: Database) -> list[User]:
        found = await read(db)
        held.set()
        await go.wait()
        return found

    monkeypatch.setattr(users, "all", slowly)
    reloading = asyncio.create_task(house.accounts.reload())
    await held.wait()
    await house.accounts.disable(max_.id, by=ada)
    go.set()
    await reloading
    assert house.accounts.get(max_.id).disabled_at is not None

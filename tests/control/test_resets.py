"""Links for a new password: once, for a day, by an admin who leaves a trace; and roles that are changed."""

from __future__ import annotations

import asyncio

import pytest

from clawloops.clock import now_ms
from clawloops.control import totp
from clawloops.control.entrance import Entered, Halfway
from clawloops.errors import BadInput, Conflict, Forbidden, Gone, NotFound, NotSignedIn
from clawloops.model.account import Role, SessionKind, User
from clawloops.model.runtime import Want
from tests.control.conftest import PASSWORD, House

NEW = "quite another password"


@pytest.fixture
async def olga(house: House) -> User:
    user, _ = await house.join("olga", role=Role.OWNER)
    return user


async def _link(house: House, user: User, by: User, *, drops_factors: bool = False) -> str:
    link = await house.resets.make(user.id, drops_factors=drops_factors, by=by)
    assert link.startswith("http://clawloops.localhost/reset/")
    return link.rpartition("/")[2]


async def _with_app(house: House, user: User) -> None:
    _, session = await house.sessions.issue(user.id, SessionKind.DASHBOARD)
    setup = house.factors.begin_app(by=user, session=session)
    await house.factors.confirm_app(totp.code_of(setup.secret, now_ms() // totp.STEP_MS), by=user, session=session)


async def test_a_link_sets_a_new_password_once_and_ends_every_session(house: House, olga: User) -> None:
    mia, cookie = await house.join("mia", by=olga)
    token = await _link(house, mia, olga)
    assert token not in str(await house.db.fetch("SELECT * FROM password_resets"))
    with pytest.raises(BadInput):
        await house.resets.use(token, "short")
    await house.resets.use(token, NEW)
    assert house.accounts.user_of(cookie) is None
    with pytest.raises(NotSignedIn):
        await house.entrance.by_password("mia", PASSWORD, "a")
    assert isinstance(await house.entrance.by_password("mia", NEW, "a"), Entered)
    for again in (house.resets.use(token, "yet another password"), house.resets.peek(token)):
        with pytest.raises(Gone):
            await again
    assert await house.resets.open() == {}
    told = await house.resets.last_use(house.accounts.get(mia.id))
    assert told is not None and told[1] == olga, "the member sees who made it"
    actions = [each.action for each in await house.audit.latest()]
    assert actions.count("link for a new password made") == actions.count("password set through a link") == 1


async def test_who_made_the_link_that_was_used_is_told_whatever_becomes_of_later_ones(house: House, olga: User) -> None:
    mia, _ = await house.join("mia", by=olga)
    ada, _ = await house.join("ada", role=Role.ADMIN, by=olga)
    await house.resets.use(await _link(house, mia, ada), NEW)
    told = await house.resets.last_use(mia)
    assert told is not None and told[1] == ada
    await _link(house, mia, olga)
    assert await house.resets.last_use(mia) == told
    await house.resets.withdraw(mia.id, by=olga)
    assert await house.resets.last_use(mia) == told
    await house.resets.use(await _link(house, mia, olga), PASSWORD)
    now = await house.resets.last_use(mia)
    assert now is not None and now[1] == olga and now[0] >= told[0]


async def test_a_link_ends_when_the_password_is_set_in_another_way(house: House, olga: User) -> None:
    mia, cookie = await house.join("mia", by=olga)
    found = house.accounts.user_of(cookie)
    assert found is not None
    token = await _link(house, mia, olga)
    await house.accounts.change_password(PASSWORD, NEW, by=mia, keep=found[1], address="a")
    assert await house.resets.open() == {}
    with pytest.raises(Gone):
        await house.resets.use(token, PASSWORD)
    token = await _link(house, mia, olga)
    await house.accounts.new_password("mia")
    with pytest.raises(Gone):
        await house.resets.use(token, PASSWORD)
    assert await house.resets.last_use(mia) is None


async def test_of_two_uses_at_once_one_counts(house: House, olga: User) -> None:
    mia, _ = await house.join("mia", by=olga)
    token = await _link(house, mia, olga)
    came = await asyncio.gather(
        house.resets.use(token, NEW), house.resets.use(token, "the other password"), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in came) == ["Gone", "NoneType"]


async def test_a_second_factor_stays_unless_the_link_says_otherwise(house: House, olga: User) -> None:
    mia, _ = await house.join("mia", by=olga)
    await _with_app(house, mia)
    await house.resets.use(await _link(house, mia, olga), NEW)
    assert isinstance(await house.entrance.by_password("mia", NEW, "a"), Halfway)
    await house.resets.use(await _link(house, mia, olga, drops_factors=True), PASSWORD)
    assert isinstance(await house.entrance.by_password("mia", PASSWORD, "a"), Entered)
    assert not house.factors.is_held_by(mia.id)


async def test_a_newer_link_a_withdrawal_a_day_and_the_end_of_either_account_end_it(house: House, olga: User) -> None:
    mia, _ = await house.join("mia", by=olga)
    ada, _ = await house.join("ada", role=Role.ADMIN, by=olga)
    first = await _link(house, mia, olga)
    second = await _link(house, mia, olga)
    assert set(await house.resets.open()) == {mia.id}
    with pytest.raises(Gone):
        await house.resets.use(first, NEW)
    await house.resets.withdraw(mia.id, by=olga)
    with pytest.raises(Gone):
        await house.resets.use(second, NEW)
    with pytest.raises(NotFound):
        await house.resets.withdraw(mia.id, by=olga)
    late = await _link(house, mia, olga)
    await house.db.execute("UPDATE password_resets SET expires_at = $1", now_ms())
    with pytest.raises(Gone):
        await house.resets.use(late, NEW)
    of_ada = await _link(house, mia, ada)
    await house.accounts.disable(ada.id, by=olga)
    with pytest.raises(Gone):
        await house.resets.use(of_ada, NEW)
    for_disabled = await _link(house, mia, olga)
    await house.accounts.disable(mia.id, by=olga)
    with pytest.raises(Gone):
        await house.resets.use(for_disabled, NEW)
    with pytest.raises(Conflict):
        await house.resets.make(mia.id, drops_factors=False, by=olga)


async def test_nobody_gets_at_the_owner_or_above_themselves_with_a_link(house: House, olga: User) -> None:
    ada, _ = await house.join("ada", role=Role.ADMIN, by=olga)
    mia, _ = await house.join("mia", by=olga)
    vic, _ = await house.join("vic", role=Role.VIEWER, by=olga)
    for whose, by in ((olga, ada), (olga, olga), (ada, ada), (ada, mia), (mia, vic), (vic, vic)):
        with pytest.raises(Forbidden):
            await house.resets.make(whose.id, drops_factors=True, by=by)
    with pytest.raises(Forbidden):
        await house.resets.withdraw(mia.id, by=vic)
    assert await house.db.fetch("SELECT * FROM password_resets") == []


async def test_a_role_is_changed_by_another_admin_and_signs_out(house: House, olga: User) -> None:
    ada, _ = await house.join("ada", role=Role.ADMIN, by=olga)
    mia, cookie = await house.join("mia", by=olga)
    ended: list[str] = []
    begun: list[str] = []

    async def end(user_id: str) -> None:
        ended.append(user_id)

    async def begin(user_id: str) -> None:
        begun.append(user_id)

    house.accounts.on_disabled, house.accounts.on_enabled = end, begin
    await house.accounts.set_role(mia.id, Role.VIEWER, by=ada)
    assert house.accounts.user_of(cookie) is None and ended == [mia.id]
    await house.accounts.load()
    assert house.accounts.get(mia.id).role is Role.VIEWER
    await house.accounts.disable(mia.id, by=ada)
    await house.accounts.enable(mia.id, by=ada)
    assert begun == [], "a viewer's keys stay out"
    await house.accounts.set_role(mia.id, Role.ADMIN, by=ada)
    assert begun == [mia.id]
    await house.accounts.set_role(mia.id, Role.MEMBER, by=ada)
    assert ended == [mia.id] * 2 and begun == [mia.id], "from admin to member nothing of the work ends"
    told = [each.detail for each in await house.audit.latest() if each.action == "role changed"]
    assert told == ["from admin to member", "from viewer to admin", "from member to viewer"]


async def test_a_disabled_viewer_s_keys_do_not_come_back_with_the_role(house: House, olga: User) -> None:
    vic, _ = await house.join("vic", role=Role.VIEWER, by=olga)
    begun: list[str] = []

    async def begin(user_id: str) -> None:
        begun.append(user_id)

    house.accounts.on_enabled = begin
    await house.accounts.disable(vic.id, by=olga)
    await house.accounts.set_role(vic.id, Role.MEMBER, by=olga)
    assert begun == []
    await house.accounts.enable(vic.id, by=olga)
    assert begun == [vic.id]


async def test_no_role_makes_or_ends_an_owner_and_nobody_raises_themselves(house: House, olga: User) -> None:
    ada, _ = await house.join("ada", role=Role.ADMIN, by=olga)
    mia, _ = await house.join("mia", by=olga)
    for whose, role, by in (
        (olga, Role.MEMBER, ada), (ada, Role.OWNER, olga), (ada, Role.MEMBER, ada), (mia, Role.ADMIN, mia),
        (ada, Role.VIEWER, mia), (olga, Role.ADMIN, olga),
    ):  # fmt: skip
        with pytest.raises((Forbidden, BadInput)):
            await house.accounts.set_role(whose.id, role, by=by)
    assert [each.role for each in house.accounts.members()] == [Role.OWNER, Role.ADMIN, Role.MEMBER]


async def test_an_owner_hands_the_box_over_and_is_an_admin_from_then_on(house: House, olga: User) -> None:
    ada, cookie = await house.join("ada", role=Role.ADMIN, by=olga)
    own, _ = await house.sessions.issue(olga.id, SessionKind.DASHBOARD)
    await house.accounts.hand_over(ada.id, by=olga)
    assert [each.role for each in house.accounts.members()] == [Role.ADMIN, Role.OWNER]
    await house.accounts.load()
    assert house.accounts.owner == house.accounts.get(ada.id), "as it is kept, too"
    assert house.accounts.user_of(cookie) is None and house.accounts.user_of(own) is not None
    told = (await house.audit.latest())[0]
    assert (told.action, told.actor, told.subject, told.detail) == (
        "ownership handed over",
        olga.id,
        "ada",
        "from olga",
    )
    await house.accounts.set_role(olga.id, Role.MEMBER, by=house.accounts.get(ada.id))


async def test_nobody_else_gives_the_box_away_and_nobody_gets_it_who_could_not_keep_it(
    house: House, olga: User
) -> None:
    ada, _ = await house.join("ada", role=Role.ADMIN, by=olga)
    mia, _ = await house.join("mia", by=olga)
    shut, _ = await house.join("shut", role=Role.ADMIN, by=olga)
    await house.accounts.disable(shut.id, by=olga)
    away = house.accounts.draft_without_password("away", name="Away", role=Role.ADMIN)
    await house.accounts.keep(away)
    house.accounts.remember(away)
    for heir, by in ((ada, ada), (ada, mia), (mia, olga), (shut, olga), (away, olga), (olga, olga)):
        with pytest.raises((Forbidden, BadInput)):
            await house.accounts.hand_over(heir.id, by=by)
    assert house.accounts.owner == olga


async def test_no_link_from_before_opens_the_account_that_has_become_the_owners(house: House, olga: User) -> None:
    ada, _ = await house.join("ada", role=Role.ADMIN, by=olga)
    eve, _ = await house.join("eve", role=Role.ADMIN, by=olga)
    token = await _link(house, ada, eve)
    await house.accounts.hand_over(ada.id, by=olga)
    with pytest.raises(Gone):
        await house.resets.use(token, NEW)
    with pytest.raises(Forbidden):
        await _link(house, ada, eve)


async def test_of_two_hand_overs_at_once_one_counts(house: House, olga: User) -> None:
    heirs = [(await house.join(name, role=Role.ADMIN, by=olga))[0] for name in ("ada", "eve")]
    came = await asyncio.gather(*(house.accounts.hand_over(each.id, by=olga) for each in heirs), return_exceptions=True)
    assert [type(each) for each in came].count(Conflict) == 1
    await house.accounts.load()
    assert [each.role for each in house.accounts.members()].count(Role.OWNER) == 1


async def test_a_viewer_has_no_workspace_whoever_asks_for_it(house: House, olga: User) -> None:
    vic, _ = await house.join("vic", role=Role.VIEWER, by=olga)
    mia, _ = await house.join("mia", by=olga)
    runtime = await house.runtimes.open(mia)
    with pytest.raises(Forbidden):
        await house.runtimes.open(vic)
    await house.accounts.set_role(mia.id, Role.VIEWER, by=olga)
    await house.runtimes.stop_for(mia.id)
    with pytest.raises(Conflict):
        await house.runtimes.wish(runtime.id, Want.RUNNING, by=olga)

"""Admins in members' workspaces: who may open which, what ends it, and that nothing brings it back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from clawloops.clock import now_ms, steady_ms
from clawloops.control import inspections as rules
from clawloops.control.accounts import Accounts
from clawloops.control.inspections import Inspections
from clawloops.control.sessions import Sessions
from clawloops.errors import BadInput, ClawLoopsError, Conflict, Forbidden, NotFound
from clawloops.model.account import Role, Session, SessionKind, User
from clawloops.model.inspection import Ending, Inspection
from clawloops.model.runtime import Runtime, Want
from tests.control.conftest import House

WHY = "Mia is ill, and the report is due"
HOUR_MS = 3_600_000


@dataclass
class Team:
    house: House
    olga: User  # the owner
    ada: User  # an admin
    mia: User
    runtime: Runtime
    session: Session  # Ada's, on the dashboard

    async def open(self, minutes: int = 60, **changes: object) -> Inspection:
        asked = {"runtime": self.runtime, "by": self.ada, "session": self.session, "reason": WHY, **changes}
        return await self.house.inspections.open(**asked, minutes=minutes)  # type: ignore[arg-type]

    async def enter(self, inspection: Inspection, parent: Session | None = None) -> Session:
        _, session = await self.house.sessions.issue(
            self.ada.id,
            SessionKind.WORKSPACE,
            runtime_id=self.runtime.id,
            parent=parent or self.session,
            inspection=inspection,
        )
        await self.house.inspections.note_entry(inspection, at=session.created_at)
        return session

    def admits(self, session: Session) -> str | None:
        """The id of what lets Ada in with this session."""
        found = self.house.inspections.admits(self.ada, session)
        return found.id if found else None

    async def told(self) -> list[tuple[str, str]]:
        return [
            (each.action, each.detail)
            for each in await self.house.audit.latest()
            if each.action.startswith(("workspace opened by", "workspace closed", "opening a"))
        ]

    async def last(self) -> Inspection:
        return (await self.house.inspections.of(self.runtime.id))[0]


@pytest.fixture
async def team(house: House) -> Team:
    olga, _ = await house.join("olga")
    ada, cookie = await house.join("ada", role=Role.ADMIN, by=olga)
    mia, _ = await house.join("mia", by=olga)
    found = house.accounts.user_of(cookie)
    assert found is not None
    return Team(house, olga, ada, mia, await house.runtimes.open(mia), found[1])


async def test_it_opens_one_workspace_to_one_session_of_one_admin(team: Team) -> None:
    house, made = team.house, await team.open()
    session = await team.enter(made)
    assert team.admits(session) == made.id
    assert session.expires_at <= made.until_at == made.opened_at + HOUR_MS
    _, other = await house.sessions.issue(team.ada.id, SessionKind.DASHBOARD)
    elsewhere = await house.runtimes.open(team.olga)
    for poor in (
        replace(session, parent=other.hash),
        replace(session, inspection="n0"),
        replace(session, inspection=None),
        replace(session, runtime_id=elsewhere.id),
    ):
        assert team.admits(poor) is None
    assert house.inspections.admits(team.olga, session) is None
    assert house.inspections.of_slug(team.runtime.slug, other) is None
    assert house.inspections.of_slug(elsewhere.slug, team.session) is None
    (now,) = house.inspections.concerning(team.mia.id)
    assert house.inspections.of_slug(team.runtime.slug, team.session) == now and now.id == made.id
    assert [house.inspections.concerning(each.id) for each in (team.ada, team.olga)] == [[now], []]
    assert await team.told() == [("workspace opened by an admin", f"60 min: {WHY}")]
    assert WHY in (await house.runtimes.history(team.runtime.id, by=team.mia))[0].text


@pytest.mark.attacks
async def test_nobody_opens_the_workspace_of_somebody_above_and_the_attempt_is_told(team: Team) -> None:
    house = team.house
    owners, admins = await house.runtimes.open(team.olga), await house.runtimes.open(team.ada)
    _, session = await house.sessions.issue(team.olga.id, SessionKind.DASHBOARD)
    for runtime, by in ((owners, team.ada), (admins, team.mia), (owners, team.mia)):
        with pytest.raises(Forbidden):
            await team.open(runtime=runtime, by=by)
        assert (await house.audit.latest(1))[0].action == "opening a workspace refused"
    with pytest.raises(Conflict, match="your own"):
        await team.open(runtime=admins)
    assert house.inspections.concerning(team.ada.id) == []
    await team.open(runtime=admins, by=team.olga, session=session)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": " \n\t\u202e "}, "reason"),
        ({"reason": "x" * 301}, "reason"),
        ({"minutes": 0}, "minutes"),
        ({"minutes": 241}, "minutes"),
        ({"minutes": -15}, "minutes"),
    ],
)
async def test_a_reason_and_a_time_are_needed(team: Team, changes: dict[str, object], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        await team.open(**changes)  # type: ignore[arg-type]
    assert refused.value.field == field and await team.told() == []


async def test_a_reason_is_kept_on_one_line_and_turns_no_text_around(team: Team) -> None:
    assert (await team.open(reason="  a\nb \u202e c\x00d ")).reason == "a b c d"


async def test_what_has_no_container_or_a_disabled_member_is_not_opened(team: Team) -> None:
    gone = await team.house.runtimes.wish(team.runtime.id, Want.GONE, by=team.mia)
    with pytest.raises(Conflict, match="no container"):
        await team.open(runtime=gone)
    await team.house.accounts.disable(team.mia.id, by=team.olga)
    with pytest.raises(Conflict, match="disabled"):
        await team.open()


async def test_two_tabs_open_it_once(team: Team) -> None:
    came_of = await asyncio.gather(team.open(), team.open(15), return_exceptions=True)
    assert [type(each) for each in came_of].count(Conflict) == 1
    assert len(team.house.inspections.concerning(team.mia.id)) == len(await team.told()) == 1


async def _give_up(team: Team) -> None:
    await team.house.runtimes.wish(team.runtime.id, Want.GONE, by=team.mia)


def _role(role: Role) -> Callable[[Team], object]:
    async def change(team: Team) -> None:
        team.house.accounts.remember(replace(team.ada, role=role))

    return change


async def _raise_member(team: Team) -> None:
    team.house.accounts.remember(replace(team.mia, role=Role.OWNER))


@pytest.mark.attacks
@pytest.mark.parametrize(
    ("event", "ending"),
    [
        (lambda team: team.house.sessions.revoke(team.session), Ending.SIGNED_OUT),
        (lambda team: team.house.sessions.revoke_user(team.ada.id), Ending.SIGNED_OUT),
        (lambda team: team.house.accounts.disable(team.ada.id, by=team.olga), Ending.SIGNED_OUT),
        (lambda team: team.house.accounts.disable(team.mia.id, by=team.olga), Ending.DISABLED),
        (_role(Role.MEMBER), Ending.NOT_ENTITLED),
        (_raise_member, Ending.NOT_ENTITLED),
        (_give_up, Ending.GONE),
    ],
)
async def test_what_it_rests_on_ends_it_for_good(team: Team, event: Callable[[Team], object], ending: Ending) -> None:
    house, made = team.house, await team.open()
    session = await team.enter(made)
    await event(team)  # type: ignore[misc]
    if ending is not Ending.GONE:  # which is seen by looking, as is done each second
        assert team.admits(session) is None
    await house.inspections.look()
    assert team.admits(session) is None and not house.sessions.knows(session.hash)
    for user in (team.ada, team.mia):  # as before: it stays ended
        house.accounts.remember(user)
    assert team.admits(session) is None and not house.inspections.holds(made)
    ended = await team.last()
    assert (ended.ending, ended.ended_by) == (ending, None) and ended.first_at == session.created_at
    assert [each[0] for each in await team.told()] == ["workspace closed to an admin", "workspace opened by an admin"]


@pytest.mark.parametrize(
    ("who", "ending"), [("ada", Ending.DONE), ("mia", Ending.OBJECTION), ("olga", Ending.OBJECTION)]
)
async def test_the_admin_the_member_and_other_admins_end_it_once(team: Team, who: str, ending: Ending) -> None:
    house, made, by = team.house, await team.open(), getattr(team, who)
    session = await team.enter(made)
    await asyncio.gather(*(house.inspections.end(made.id, by=by) for _ in range(3)), house.inspections.look())
    assert await house.inspections.end(made.id, by=by) is None
    ended = await team.last()
    assert (ended.ending, ended.ended_by) == (ending, by.id)
    assert await team.told() == [
        ("workspace closed to an admin", f"{by.name} has ended it"),
        ("workspace opened by an admin", f"60 min: {WHY}"),
    ]
    assert not house.sessions.knows(session.hash)
    again = await team.open()
    assert team.admits(session) is None
    assert team.admits(replace(session, inspection=again.id)) == again.id, "only with its own id"


async def test_whoever_leaves_while_it_is_ended_has_ended_it(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    house, made = team.house, await team.open()
    session = await team.enter(made)
    record = house.audit.record

    async def leave(*entry: str) -> None:
        await record(*entry)
        ending.cancel()

    monkeypatch.setattr(house.audit, "record", leave)
    ending = asyncio.create_task(house.inspections.end(made.id, by=team.mia))
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert not house.inspections.holds(made) and not house.sessions.knows(session.hash)
    assert (await team.last()).ending is Ending.OBJECTION


@pytest.mark.attacks
async def test_another_member_ends_nothing(team: Team) -> None:
    made = await team.open()
    ben, _ = await team.house.join("ben", by=team.olga)
    with pytest.raises(NotFound):
        await team.house.inspections.end(made.id, by=ben)
    assert team.house.inspections.holds(made)


@pytest.mark.attacks
@pytest.mark.parametrize("back_h", [0, 24])
async def test_it_ends_in_time_also_when_the_clock_is_set_back(
    team: Team, monkeypatch: pytest.MonkeyPatch, back_h: int
) -> None:
    house, made = team.house, await team.open(15)
    session = await team.enter(made)
    wall, steady, past = now_ms(), steady_ms(), 0
    monkeypatch.setattr(rules, "steady_ms", lambda: steady + past)
    monkeypatch.setattr(rules, "now_ms", lambda: wall + past - back_h * HOUR_MS)
    past = 15 * 60_000 - 2000
    assert team.admits(session) == made.id
    past += 2001
    assert team.admits(session) is None
    await house.inspections.look()
    ended = await team.last()
    assert ended.ending is Ending.TIME and made.opened_at <= (ended.ended_at or 0) <= made.until_at


async def test_a_clock_set_forward_ends_it(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await team.open(15)
    monkeypatch.setattr(rules, "now_ms", lambda: made.until_at)
    assert not team.house.inspections.holds(made)


async def _restarted(house: House) -> tuple[Accounts, Inspections, Sessions]:
    sessions = Sessions(house.db)
    accounts = Accounts(house.db, sessions, house.audit)
    made = Inspections(house.db, accounts, sessions, house.audit)
    for each in (accounts, sessions, made):
        await each.load()
    return accounts, made, sessions


async def test_it_goes_on_over_a_restart_and_what_ended_does_not(team: Team) -> None:
    house, made = team.house, await team.open()
    session = await team.enter(made)
    _, after, _ = await _restarted(house)
    found = after.admits(team.ada, session)
    assert found is not None and found.id == made.id and found.first_at == session.created_at
    await house.inspections.end(made.id, by=team.mia)
    _, after, sessions = await _restarted(house)
    assert after.admits(team.ada, session) is None and not after.holds(made) and not sessions.knows(session.hash)


@pytest.mark.attacks
@pytest.mark.parametrize("meanwhile", ["its time passes", "the clock is set back", "the admin signs out"])
async def test_a_restart_brings_nothing_back(team: Team, monkeypatch: pytest.MonkeyPatch, meanwhile: str) -> None:
    house, made = team.house, await team.open(15)
    session = await team.enter(made)
    match meanwhile:
        case "its time passes":
            monkeypatch.setattr(rules, "now_ms", lambda: made.until_at + 1)
        case "the clock is set back":
            monkeypatch.setattr(rules, "now_ms", lambda: made.opened_at - 1)
        case _:
            await house.db.execute("DELETE FROM sessions WHERE hash = $1", team.session.hash)
    _, after, _ = await _restarted(house)
    assert after.admits(team.ada, session) is None
    await after.look()
    ended = (await after.of(team.runtime.id))[0]
    assert ended.ending is (Ending.SIGNED_OUT if meanwhile == "the admin signs out" else Ending.TIME)
    assert made.opened_at <= (ended.ended_at or 0) <= made.until_at


async def test_its_first_and_last_use_are_kept(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    house, made = team.house, await team.open()
    await house.inspections.look()
    assert (await team.last()).first_at == 0
    session = await team.enter(made)
    later = now_ms() + 5000
    monkeypatch.setattr("clawloops.control.sessions.now_ms", lambda: later)
    assert house.sessions.use(session)
    await house.inspections.look()
    assert ((await team.last()).first_at, (await team.last()).last_at) == (session.created_at, later)
    await house.sessions.revoke(team.session)  # which forgets the sessions that knew
    await house.inspections.look()
    ended = await team.last()
    assert (ended.ending, ended.first_at, ended.last_at) == (Ending.SIGNED_OUT, session.created_at, later)


async def test_while_the_database_is_away_it_still_ends(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await team.open(15)
    session = await team.enter(made)

    async def away(*_: object, **__: object) -> None:
        raise ClawLoopsError("no database")

    monkeypatch.setattr("clawloops.store.inspections.end", away)
    monkeypatch.setattr(rules, "now_ms", lambda: made.until_at)
    with pytest.raises(ClawLoopsError):
        await team.house.inspections.look()
    assert team.admits(session) is None

"""The one-time code between the dashboard and a workspace: good once, for one host and one browser."""

from __future__ import annotations

import pytest

from clawloops.clock import steady_ms
from clawloops.control import handover as rules
from clawloops.errors import Forbidden, Gone, NotSignedIn
from clawloops.model.account import Session, SessionKind, User
from clawloops.model.runtime import Runtime
from tests.control.conftest import House

HOST = "ada-abc234.ws.clawloops.localhost"


async def _visit(house: House) -> tuple[User, Session, Runtime, str, str]:
    user, cookie = await house.join("ada")
    found = house.accounts.user_of(cookie)
    assert found is not None
    return user, found[1], await house.runtimes.open(user), *rules.new_state()


async def test_a_code_opens_the_workspace_once(house: House) -> None:
    user, session, runtime, state, challenge = await _visit(house)
    code = house.handover.code(user=user, session=session, runtime=runtime, host=HOST, challenge=challenge)
    token, inner = await house.handover.redeem(code, host=HOST, state=state)
    assert house.sessions.find(token, SessionKind.WORKSPACE) == inner
    assert inner.runtime_id == runtime.id
    with pytest.raises(Gone):
        await house.handover.redeem(code, host=HOST, state=state)


@pytest.mark.parametrize(("host", "state"), [("eve.ws.clawloops.localhost", None), (HOST, "another browser")])
async def test_a_code_for_another_host_or_browser_is_refused_and_spent(
    house: House, host: str, state: str | None
) -> None:
    user, session, runtime, right, challenge = await _visit(house)
    code = house.handover.code(user=user, session=session, runtime=runtime, host=HOST, challenge=challenge)
    with pytest.raises(Forbidden):
        await house.handover.redeem(code, host=host, state=state or right)
    with pytest.raises(Gone):
        await house.handover.redeem(code, host=HOST, state=right)


async def test_a_code_ends_after_30_seconds(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    user, session, runtime, state, challenge = await _visit(house)
    code = house.handover.code(user=user, session=session, runtime=runtime, host=HOST, challenge=challenge)
    later = steady_ms() + 31_000
    monkeypatch.setattr(rules, "steady_ms", lambda: later)
    with pytest.raises(Gone):
        await house.handover.redeem(code, host=HOST, state=state)


async def test_a_code_dies_with_the_session_it_came_from(house: House) -> None:
    user, session, runtime, state, challenge = await _visit(house)
    code = house.handover.code(user=user, session=session, runtime=runtime, host=HOST, challenge=challenge)
    await house.accounts.sign_out(session)
    with pytest.raises(NotSignedIn):
        await house.handover.redeem(code, host=HOST, state=state)


async def test_nobody_gets_a_code_for_somebody_elses_workspace(house: House) -> None:
    owner, session, runtime, _, challenge = await _visit(house)
    ben, _ = await house.join("ben", by=owner)
    with pytest.raises(Forbidden):
        house.handover.code(user=ben, session=session, runtime=runtime, host=HOST, challenge=challenge)

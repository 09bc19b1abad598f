"""The first steps of a box: read off what is there, each with a real check, skipped, dismissed and come back to."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from clawloops.control.connecting import BundledParts
from clawloops.control.first_run import Step
from clawloops.errors import Forbidden
from clawloops.model.account import Role, User
from clawloops.model.budget import Measure, Scope, Span
from clawloops.model.library import Pull, PullState
from clawloops.model.usage import Call, Tokens
from clawloops.store import pulls
from clawloops.web.context import FIRST_RUN, TRIALS
from tests.upstream import Script, Upstream, serve
from tests.web import scenes
from tests.web.box import Box
from tests.web.test_second_step import with_app
from tests.web.tools import tools_door


@pytest.fixture
async def olga(box: Box) -> User:
    return await box.member("olga", Role.OWNER)


@pytest.fixture
async def token(box: Box, olga: User) -> str:
    return (await box.signed_in(olga))[0]


@pytest.fixture
async def upstream(box: Box, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upstream]:
    """It stands for the Ollama of this box, behind an open door of the gateway."""
    async with serve() as running, tools_door(box):
        monkeypatch.setattr(box.backends, "_bundled", BundledParts(running.url, "", ""))
        yield running


async def _shown(box: Box, token: str, path: str = "/first-run") -> str:
    reply = await box.page(path, token)
    assert reply.status == 200
    return await reply.text()


def _open_step(page: str) -> list[str]:
    return re.findall(r'id="(\w+)" aria-labelledby="\w+-title" aria-current="step"', page)


def _done(page: str) -> list[str]:
    return re.findall(r'class="panel step done" id="(\w+)"', page)


async def test_the_steps_are_read_off_the_box(box: Box, olga: User, token: str, upstream: Upstream) -> None:
    page = await _shown(box, token)
    assert (_open_step(page), _done(page)) == (["admin"], []) and "Hello, Olga" in page
    await with_app(box, olga)
    page = await _shown(box, token)
    assert (_open_step(page), _done(page)) == (["model"], ["admin"])
    upstream.scripts["tiny"] = Script()
    assert (await box.send("/first-run/model", token, kind="ollama", models="tiny")).status == 303
    page = await _shown(box, token)
    assert (_open_step(page), _done(page)) == (["model"], ["admin"]), "that it is connected is not yet an answer"
    (name,) = box.models.names()
    assert (await box.send("/first-run/model/try", token, model=name.id)).status == 200
    page = await _shown(box, token)
    assert (_open_step(page), _done(page)) == (["invite"], ["admin", "model"])
    await box.member("mia")
    page = await _shown(box, token)
    assert (_open_step(page), _done(page)) == ([], ["admin", "model", "invite"]) and "That was all" in page
    assert "First steps" not in await _shown(box, token, "/")
    (backend,) = await box.backends.all()
    await box.backends.remove(backend.id, by=olga)
    assert _open_step(await _shown(box, token)) == ["model"] and "First steps" in await _shown(box, token, "/")


async def test_a_test_answer_goes_through_the_gateway_and_is_counted_as_it_is_shown(
    box: Box, olga: User, token: str, upstream: Upstream
) -> None:
    upstream.scripts["tiny"] = Script(words=["Good", " morning."])
    await box.send("/first-run/model", token, kind="ollama", models="tiny")
    assert await box.ledger.totals() == {}, "the check of a new backend is not a member's call"
    (name,) = box.models.names()
    asked = len(upstream.seen)
    page = await (await box.send("/first-run/model/try", token, model=name.id)).text()
    assert len(upstream.seen) == asked + 1 and "“Good morning.”" in page
    sent, answered = map(int, re.findall(r"(\d+) tokens sent, (\d+) answered", page)[0])
    total = await box.ledger.total_of(olga.id)
    assert (total.calls, total.input, total.output) == (1, sent, answered) and sent > 0 and answered > 0
    assert ("model tried", "tiny", "it answered") in [
        (each.action, each.subject, each.detail) for each in await box.audit.latest()
    ]
    assert not box.directory._keys, "the key of the trial is gone"
    assert "Good morning" not in await _shown(box, token, "/first-run/model"), "what it said is kept nowhere"


@pytest.mark.parametrize("script", [Script(status=500, error="out of memory"), Script(words=[]), Script(status=401)])
async def test_what_a_model_does_wrong_is_told_beside_the_button(
    box: Box, token: str, upstream: Upstream, script: Script
) -> None:
    await box.send("/first-run/model", token, kind="ollama", models="tiny")
    upstream.scripts["tiny"] = script
    (name,) = box.models.names()
    page = await (await box.send("/first-run/model/try", token, model=name.id)).text()
    if script.words:
        assert 'role="alert" id="said"' in page and "tiny has not answered." in page and "model" not in _done(page)
        assert "See why, and connect another" in page and "Ollama" in page.split('id="said"')[1].split("</p>")[0]
    else:
        assert "thoughts alone" in page and "model" in _done(page)
    assert not box.directory._keys


async def test_a_budget_that_is_used_up_holds_for_a_test_answer_too(
    box: Box, olga: User, token: str, upstream: Upstream
) -> None:
    await box.send("/first-run/model", token, kind="ollama", models="tiny")
    await box.budgets.add(Scope.BOX, "", Measure.REQUESTS, Span.DAY, 1, is_background=False, by=olga)
    (name,) = box.models.names()
    assert "has answered" in await (await box.send("/first-run/model/try", token, model=name.id)).text()
    page = await (await box.send("/first-run/model/try", token, model=name.id)).text()
    assert "tiny has not answered." in page and "budget" in page.lower()


async def test_a_skipped_step_is_passed_over_once_for_all_tabs_and_counts_when_it_is_done(
    box: Box, olga: User, token: str
) -> None:
    for _ in ("one tab", "and another"):
        reply = await box.send("/first-run/admin/skip", token)
        assert reply.headers["Location"] == "/first-run#model"
    assert [each.action for each in await box.audit.latest()].count("first-run step skipped") == 1
    page = await _shown(box, token)
    assert _open_step(page) == ["model"] and page.count("skipped</span>") == 1
    assert _open_step(await _shown(box, token, "/first-run/admin")) == ["admin"]
    await with_app(box, olga)
    page = await _shown(box, token)
    assert _done(page) == ["admin"] and "skipped</span>" not in page
    for step, then in (("model", "invite"), ("invite", "workspace")):
        assert (await box.send(f"/first-run/{step}/skip", token)).headers["Location"] == f"/first-run#{then}"
    assert "First steps" not in await _shown(box, token, "/")


async def test_whoever_dismisses_it_is_led_there_no_more_and_finds_it_all_the_same(box: Box, token: str) -> None:
    home = await _shown(box, token, "/")
    assert 'href="/first-run/admin#admin"' in home and "Back to the first steps" in await _shown(box, token, "/models")
    assert (await box.send("/first-run/dismiss", token)).headers["Location"] == "/"
    assert "First steps" not in await _shown(box, token, "/")
    assert "Back to the first steps" not in await _shown(box, token, "/models")
    assert 'href="/first-run"' in await _shown(box, token, "/box")
    page = await _shown(box, token)
    assert _open_step(page) == ["admin"] and "Do not lead me here again" not in page


async def test_what_was_skipped_stays_so_over_a_restart(box: Box, token: str) -> None:
    await box.send("/first-run/admin/skip", token)
    await box.close_dashboard()
    await box.open_dashboard()
    assert _open_step(await _shown(box, token)) == ["model"]


async def test_an_invitation_is_made_right_there_and_shown_once(box: Box, token: str) -> None:
    page = await (await box.send("/first-run/invite", token, note="for Ben")).text()
    (link,) = re.findall(r'id="invitation-link" value="([^"]+)"', page)
    assert (await box.page(link.removeprefix(box.site.origin))).status == 200
    assert "on this machine alone" in page, "of a box without a name of its own"
    page = await _shown(box, token)
    assert link not in page and "invite" in _done(page)
    refused = await box.send("/first-run/invite", token, note="x" * 121)
    text = await refused.text()
    assert refused.status == 400 and 'id="f-note-note"' in text and "x" * 121 in text
    assert _open_step(text) == ["invite"] and "Make an invitation link" in text


async def test_a_refused_backend_is_told_beside_its_field_on_this_page(box: Box, token: str) -> None:
    refused = await box.send(
        "/first-run/model", token, kind="openai", url="http://192.0.2.1:9/v1?x", key="sk-canary-0123456789", models="t"
    )
    text = await refused.text()
    assert refused.status == 400 and 'id="openai-url-note"' in text and _open_step(text) == ["model"]
    assert "sk-canary" not in text and 'action="/first-run/model"' in text


async def test_an_empty_ollama_is_filled_from_here(box: Box, olga: User, token: str) -> None:
    await scenes.with_an_empty_ollama(box, "http://192.0.2.1:9")
    page = await _shown(box, token, "/first-run/model")
    assert 'action="/first-run/model/pull"' in page and "data-live" not in page and "data-go" not in page
    refused = await box.send("/first-run/model/pull", token, backend="b0", model="not a name")
    assert refused.status == 400 and 'value="not a name"' in await refused.text()
    await pulls.add(box.db, Pull("q1", "b0", "tiny", True, PullState.RUNNING, "", olga.id, 1, 0))
    page = await _shown(box, token, "/first-run/model")
    assert 'data-live="/first-run/live"' in page and "under way" in page
    await pulls.end(box.db, "q1", PullState.FAILED, "there is no such model", 2)
    page = await _shown(box, token, "/first-run/model")
    assert "There is no such model." in page and 'action="/first-run/model/pull"' in page


async def test_an_admin_who_is_not_the_owner_sees_whose_factor_is_missing(box: Box, olga: User) -> None:
    grace = await box.member("grace", Role.ADMIN)
    session, _ = await box.signed_in(grace)
    await with_app(box, grace)
    page = await _shown(box, session, "/first-run/admin")
    assert "This step is done once Olga, the owner, has one." in page and "admin" not in _done(page)


async def test_what_is_no_step_is_not_there_and_nothing_of_it_is_for_members(box: Box, token: str) -> None:
    assert (await box.page("/first-run/nothing", token)).status == 404
    assert (await box.send("/first-run/nothing/skip", token)).status == 404
    session, _ = await box.signed_in(await box.member("mia"))
    for path in ("/first-run", "/first-run/model", "/first-run/live"):
        assert (await box.page(path, session)).status == 403
    for path in ("admin/skip", "dismiss", "model", "model/pull", "model/try", "invite"):
        assert (await box.send(f"/first-run/{path}", session)).status == 403


async def test_the_services_themselves_refuse_members(box: Box, olga: User) -> None:
    mia = await box.member("mia")
    await scenes.with_models(box)
    assert box.dashboard is not None
    app = box.dashboard.app
    for refused in (
        app[FIRST_RUN].skip(Step.ADMIN, by=mia), app[FIRST_RUN].dismiss(by=mia), app[TRIALS].ask("m-qwen3:8b", by=mia)
    ):  # fmt: skip
        with pytest.raises(Forbidden):
            await refused


async def test_a_call_of_a_name_that_is_gone_does_not_count_as_an_answer(box: Box, olga: User, token: str) -> None:
    await scenes.with_models(box)
    box.journal.append(Call("a" * 32, 1, olga.id, "", "another", "b1", Tokens(3, 4), 200, 5, 9))
    box.journal.append(Call("b" * 32, 1, olga.id, "", "qwen3:8b", "b1", Tokens(3, 0), 502, None, 9))
    assert "model" not in _done(await _shown(box, token))
    box.journal.append(Call("c" * 32, 1, olga.id, "", "qwen3:8b", "b1", Tokens(3, 4), 200, 5, 9))
    assert "model" in _done(await _shown(box, token))

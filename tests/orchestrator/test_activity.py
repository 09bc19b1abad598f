"""Who is at a runtime, and whose fault its last model call was."""

from __future__ import annotations

import pytest

from clawloops.clock import steady_ms
from clawloops.model.usage import Call, Tokens
from clawloops.orchestrator import activity as module
from clawloops.orchestrator.activity import SLOW_MS, Activity


def _call(runtime_id: str, status: int, *, first_ms: int | None = None, total_ms: int = 5) -> Call:
    return Call("c", 1, "u", runtime_id, "m", "b", Tokens(), status, first_ms, total_ms)


def test_what_the_control_plane_itself_asks_for_counts_as_attended() -> None:
    activity = Activity()
    assert not activity.is_attended("r")
    with activity.tending("r"), activity.tending("r"):
        assert activity.is_attended("r") and not activity.is_attended("other")
    assert not activity.is_attended("r")
    activity.person("r", "its pages were opened")
    assert activity.is_attended("r")


def test_a_call_that_a_budget_refuses_is_no_fault_of_the_runtime() -> None:
    activity, began = Activity(), steady_ms()
    activity.settled(_call("r", 400))
    assert not activity.model_to_blame("r", since=began)
    activity.refused("r")
    assert activity.model_to_blame("r", since=began)
    activity.settled(_call("", 502))
    activity.refused("")
    assert not activity.model_to_blame("", since=began)


@pytest.mark.parametrize("first_ms", [None, 30])
def test_an_answer_that_was_left_after_long_is_the_models_fault(first_ms: int | None) -> None:
    activity, began = Activity(), steady_ms()
    activity.settled(_call("r", 499, first_ms=first_ms, total_ms=SLOW_MS - 1))
    assert not activity.model_to_blame("r", since=began)
    activity.settled(_call("r", 499, first_ms=first_ms, total_ms=SLOW_MS))
    assert activity.model_to_blame("r", since=began)
    activity.settled(_call("r", 200, first_ms=first_ms, total_ms=SLOW_MS))  # it had its answer, and made nothing of it
    assert not activity.model_to_blame("r", since=began)


def test_a_call_that_is_still_under_way_after_long_is_the_models_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    activity, began = Activity(), steady_ms()
    with activity.call("r"):
        assert not activity.model_to_blame("r", since=began)
        monkeypatch.setattr(module, "steady_ms", lambda: began + SLOW_MS + 1000)
        assert activity.model_to_blame("r", since=began) and not activity.model_to_blame("other", since=began)
        with activity.call("r"):
            assert activity.calls("r") == 2
    assert activity.calls("r") == 0 and not activity.model_to_blame("r", since=began)


def test_a_workspace_that_is_forgotten_in_the_middle_of_a_call_is_no_error() -> None:
    activity = Activity()
    with activity.call("r"):
        activity.forget("r")
        assert activity.calls("r") == 0
    assert activity.calls("r") == 0


def test_somebody_has_just_come_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    activity, now = Activity(), steady_ms()
    activity.came_up("r")
    assert not activity.is_wanted("r")
    activity.touch("r", "its pages were opened")
    assert activity.is_wanted("r") and not activity.is_wanted("other")
    monkeypatch.setattr(module, "steady_ms", lambda: now + module.JUST_NOW_MS + 1000)
    assert not activity.is_wanted("r")

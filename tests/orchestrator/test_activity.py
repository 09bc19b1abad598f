"""Who is at a runtime, and whose fault its last model call was."""

from __future__ import annotations

from clawloops.clock import steady_ms
from clawloops.model.usage import Call, Tokens
from clawloops.orchestrator.activity import Activity


def _call(runtime_id: str, status: int) -> Call:
    return Call("c", 1, "u", runtime_id, "m", "b", Tokens(), status, None, 5)


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

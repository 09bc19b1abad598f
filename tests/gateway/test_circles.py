"""The burn guard: what goes in circles with nobody at it is held, and nothing else is."""

from __future__ import annotations

import pytest

from clawloops.gateway.body import Body
from clawloops.gateway.circles import Circles, Circling
from clawloops.gateway.endpoints import ENDPOINTS
from tests.gateway.gate import Gateway

CHAT = ENDPOINTS["/v1/chat/completions"]


class Watched:
    def __init__(self) -> None:
        self.held: list[tuple[str, str]] = []
        self.circles = Circles(on_held=lambda runtime_id, why: self.held.append((runtime_id, why)))

    def let_through(self, text: str, at: float, *, start: bytes = b"1", runtime_id: str = "r") -> bool:
        body = Body(CHAT, "small", {"messages": [{"role": "user", "content": text}]}, stream=True)
        try:
            self.circles.refuse_held(runtime_id)
            self.circles.note(runtime_id, start, body, at)
        except Circling:
            return False
        return True


def test_the_same_call_over_and_over_is_held_though_its_numbers_differ() -> None:
    watched = Watched()
    passed = [watched.let_through(f"Retry {n}: fetch failed at 12:{n:02}", 40.0 * n) for n in range(12)]
    assert passed == [True] * 9 + [False] * 3
    assert watched.held == [("r", "the same call came 10 times within 10 minutes")]
    assert watched.let_through("Retry 1: fetch failed", 500.0, runtime_id="another")


def test_a_heartbeat_that_comes_far_too_often_is_held_and_a_usual_one_never_is() -> None:
    watched = Watched()
    assert all(watched.let_through("Read HEARTBEAT.md. It is 10:30.", 1800.0 * n, runtime_id="slow") for n in range(99))
    assert all(watched.let_through("Anything new?", 300.0 * n, runtime_id="each 5 min") for n in range(99))
    passed = [watched.let_through("Read HEARTBEAT.md.", 120.0 * n, runtime_id="fast") for n in range(25)]
    assert passed.index(False) == 19
    assert [runtime_id for runtime_id, _ in watched.held] == ["fast"]


def test_a_turn_with_many_different_steps_passes() -> None:
    watched = Watched()
    steps = ("list the files", "read the first", "fix the test", "run it", "read the log", "try again with care")
    assert all(watched.let_through(f"{steps[n % 6]}, {chr(97 + n // 6)}", float(n)) for n in range(60))


def test_a_start_that_each_time_resumes_the_same_call_is_held() -> None:
    watched = Watched()
    assert watched.let_through("Go on with the report", 0.0, start=b"1")
    assert watched.let_through("another step", 5.0, start=b"1")
    assert watched.let_through("Go on with the report", 300.0, start=b"2")
    assert not watched.let_through("Go on with the report", 600.0, start=b"3")
    assert watched.held == [("r", "it started 3 times within 30 minutes, each time with the same call")]


def test_once_resumed_it_is_counted_anew() -> None:
    watched = Watched()
    watched.circles.hold("r", "as before the restart")
    assert not watched.let_through("Hello", 0.0)
    assert watched.circles.why("r") == "as before the restart"
    watched.circles.release("r")
    assert [watched.let_through("Hello", float(n)) for n in range(10)] == [True] * 9 + [False]


async def test_background_calls_are_held_with_a_word_and_a_person_is_served(gateway: Gateway) -> None:
    gateway.serve_model("small")
    gateway.attended.clear()
    for _ in range(9):
        await (await gateway.post("small")).read()
    async with await gateway.post("small", stream=True) as answer:
        assert (answer.status, answer.headers["X-Should-Retry"]) == (429, "false")
        said = (await answer.json())["error"]
        assert said["code"] == "background_held"
        assert "the same call came 10 times" in said["message"] and "dashboard" in said["message"]
    assert len(gateway.upstream.seen) == len(gateway.settled) == 9
    assert gateway.held == [("r-ada", "the same call came 10 times within 10 minutes")]
    gateway.attended.add("r-ada")
    async with await gateway.post("small") as answer:
        assert answer.status == 200


@pytest.mark.parametrize("last", [None, 5, {"content": None}, [], "", {"content": [{"type": "image"}] * 3000}])
def test_a_message_of_any_shape_can_be_compared(last: object) -> None:
    body = Body(CHAT, "small", {"messages": [last]}, stream=True)
    Circles(on_held=lambda runtime_id, why: None).note("r", b"1", body, 0.0)


def test_a_message_that_is_nested_too_deeply_is_compared_as_empty() -> None:
    deep: object = "x"
    for _ in range(600):
        deep = [deep]
    body = Body(CHAT, "small", {"messages": [{"role": "user", "content": deep}]}, stream=True)
    Circles(on_held=lambda runtime_id, why: None).note("r", b"1", body, 0.0)

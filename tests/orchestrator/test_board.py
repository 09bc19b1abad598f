"""What people see: stages with their durations, and words instead of codes."""

from __future__ import annotations

from clawloops.model.runtime import Phase, View
from clawloops.orchestrator.board import Board, Opening
from clawloops.orchestrator.phase import ended_because
from clawloops.orchestrator.probe import started
from clawloops.runtimes.seen import Container, State


def test_an_opening_lists_its_stages_in_order_and_ready_carries_the_whole() -> None:
    opening = Opening()
    assert opening.at(Phase.NETWORK, 1000) == ()
    assert opening.at(Phase.CONTAINER, 1300) == ((Phase.NETWORK, 300),)
    assert opening.at(Phase.BOOT, 2000) == ((Phase.NETWORK, 300), (Phase.CONTAINER, 700))
    done = opening.at(Phase.READY, 9000)
    assert done[2:] == ((Phase.BOOT, 7000), (Phase.READY, 8000))
    assert opening.at(Phase.UNKNOWN, 9500) == opening.at(Phase.READY, 9900) == done


def test_stages_that_were_passed_over_took_no_time() -> None:
    opening = Opening()
    assert opening.at(Phase.CONTAINER, 0) == ((Phase.NETWORK, 0),)
    assert opening.at(Phase.READY, 50)[1:] == ((Phase.CONTAINER, 50), (Phase.BOOT, 0), (Phase.READY, 50))
    opening.at(Phase.STOPPED, 60)
    assert opening.at(Phase.READY, 70) == ()


def test_only_a_change_is_published_and_an_unknown_runtime_is_absent() -> None:
    board = Board()
    view = View("r1", Phase.BOOT)
    with board.bus.subscribe("r1"):
        board.put(view)
        board.put(view)
        queue = next(iter(board.bus._queues["r1"]))
        assert queue.qsize() == 1
    assert board.get("r2").phase is Phase.ABSENT
    assert board.by_slug("nobody") is None


def test_only_the_json_that_says_started_is_ready() -> None:
    assert started(b'{"status":"started","uptimeMs":1}')
    for body in (b"", b"<!doctype html>", b'{"status":"starting"}', b'{"status":"draining"}', b'["started"]', b"\xff"):
        assert not started(body)


def test_an_end_is_told_in_words() -> None:
    def ended(code: int, *, oom: bool = False) -> str:
        return ended_because(Container("a", "n", State.EXITED, "", "", code, oom), memory_mb=2048)

    assert "2048 MiB" in ended(137, oom=True)
    assert "newer version" in ended(78)
    assert "killed" in ended(137)
    assert "exit code 3" in ended(3)

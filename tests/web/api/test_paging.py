"""Lists a page at a time: each thing once, whatever is added and removed in between, and never more than asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from clawloops.clock import now_ms
from clawloops.model.account import Role
from clawloops.model.egress import Outcome, Receipt
from clawloops.model.provider import Backend, BackendKind
from clawloops.store import backends, egress, events
from clawloops.web.api.operation import Operation
from clawloops.web.api.paging import Paged, cursor_of
from clawloops.web.api.table import OPERATIONS
from tests.web.api.program import Program, admin, filled
from tests.web.box import Box

LISTS = [each for each in OPERATIONS if each.method == "GET" and each.handler.__name__.startswith("list_")]


def _name(operation: Operation) -> str:
    return operation.path


async def _walk(call: Program, path: str, limit: int, between: Callable[[], Awaitable[object]]) -> list[object]:
    """Everything, page by page; `between` is awaited after each."""
    found: list[object] = []
    cursor = ""
    while True:
        page = (await call("GET", f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))).body
        assert len(page["items"]) <= limit
        found += [str(each) for each in page["items"]]
        if page["next_cursor"] is None:
            return found
        cursor = page["next_cursor"]
        await between()


def test_whatever_is_called_a_list_takes_a_page_and_gives_one() -> None:
    paged = [each for each in OPERATIONS if each.query is not None and issubclass(each.query, Paged)]
    assert paged == LISTS and len(LISTS) > 20
    assert all(each.gives.__name__.startswith("Listed") for each in LISTS)


@pytest.mark.parametrize("operation", LISTS, ids=_name)
async def test_every_list_keeps_to_its_limits(box: Box, operation: Operation) -> None:
    olga = await admin(box)
    runtime = await box.workspace(olga.user)
    await backends.add(box.db, Backend("b1", "Ollama", BackendKind.OLLAMA, "http://127.0.0.1:9", "", 1))
    path = filled(operation, id="b1" if operation.path.startswith("/backends") else runtime.id)
    assert set((await olga("GET", path)).body) == {"items", "next_cursor"}
    for query, pointer in (
        ("limit=0", "/limit"), ("limit=201", "/limit"), ("limit=x", "/limit"), ("limit=1&limit=2", "/limit"),
        ("cursor=" + cursor_of(("no", "such")), "/cursor"), ("cursor=x", "/cursor"), ("cursor=%00", "/cursor"),
        ("cursor=" + cursor_of((2**63, "x", 1, "x")), "/cursor"), ("page=2", "/page"),
    ):  # fmt: skip
        answer = await olga("GET", f"{path}?{query}")
        assert (answer.status, answer.pointers) == (400, [pointer]), query
    assert (await olga("GET", f"{path}?limit=200")).status == 200


async def test_a_list_of_what_is_in_memory_goes_on_behind_what_was_seen(box: Box) -> None:
    olga = await admin(box)
    for number in range(7):
        await box.member(f"m{number}")
    ids = [each.id for each in box.accounts.members()]
    added: list[str] = []

    async def between() -> None:
        added.append((await box.member(f"late{len(added)}")).id)

    found = await _walk(olga, "/members", 3, between)
    assert len(found) == len(set(found)) >= len(ids)
    assert all(any(each in text for text in map(str, found)) for each in ids)


async def test_the_audit_is_walked_backwards_while_it_grows(box: Box) -> None:
    olga = await admin(box)
    for number in range(20):
        await box.audit.record(olga.user.id, "noted", str(number))
    seen = len(await box.audit.latest(100))
    found = await _walk(olga, "/audit", 6, lambda: box.audit.record(None, "late", ""))
    assert len(found) == len(set(found)) == seen
    assert not any("'late'" in str(each) for each in found)


async def test_everybody_s_workspaces_and_invitations_come_from_the_store_a_page_at_a_time(box: Box) -> None:
    olga = await admin(box)
    for number in range(5):
        await box.runtimes.open(await box.member(f"m{number}"))
        await box.invitations.invite(role=Role.MEMBER, note=str(number), by=olga.user)
    await box.db.execute("UPDATE runtimes SET created_at = 5")  # at the same instant: the id decides

    async def nothing() -> None: ...

    for path, count in (("/workspaces", 5), ("/invitations", 5)):
        found = await _walk(olga, path, 2, nothing)
        assert len(found) == len(set(found)) == count, path


async def test_receipts_stay_where_they_are_while_they_are_counted(box: Box) -> None:
    olga = await admin(box)
    hour = now_ms() // 3_600_000 * 3_600_000
    rows = [
        Receipt(olga.user.id, hour - at * 3_600_000, f"h{n}.example", 443, Outcome.PASSED, "", 1, 0, 0, 1, 1)
        for at in range(3)
        for n in range(3)
    ]
    await egress.add_receipts(box.db, rows)

    async def again() -> None:
        await egress.add_receipts(box.db, rows)  # each counts anew, and its last use moves

    found = await _walk(olga, "/workspace/internet/receipts", 2, again)
    assert len(found) == 9


async def test_a_history_goes_on_behind_its_last_line(box: Box) -> None:
    olga = await admin(box)
    runtime = await box.workspace(olga.user)
    for number in range(5):
        await events.add(box.db, runtime.id, at=number + 1, kind="wake", text=f"line {number}")
    late = lambda: events.add(box.db, runtime.id, at=99, kind="wake", text="late")  # noqa: E731
    found = await _walk(olga, f"/workspaces/{runtime.id}/events", 2, late)
    assert sum("line" in str(each) for each in found) == 5 and not any("late" in str(each) for each in found)

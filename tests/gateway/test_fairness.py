"""Shares of a backend's time by simulation: as the weights say, within bounds, whatever comes and is expected."""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from dataclasses import dataclass, field

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from clawloops.gateway.fairness import AFFINITY_S, PATIENCE_S, FairShare, Ticket

NO_SHRINKING = (Phase.explicit, Phase.generate)  # a simulation is long, and a smaller one tells no more


@dataclass
class Member:
    name: str
    weight: int
    models: tuple[str, ...]
    longest_s: float  # of one call
    guess: float  # what is expected of a call, against what it takes
    depth: int  # calls that it has waiting at any time


@dataclass
class Outcome:
    had_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    waits: dict[str, list[float]] = field(default_factory=dict)
    switches: int = 0
    calls: int = 0


def _simulate(members: list[Member], *, slots: int, until_s: float, seed: int) -> Outcome:
    """Everybody always has calls waiting; what each has had of the seats when the time is up."""
    rng, share, outcome = random.Random(seed), FairShare(), Outcome()
    now, last = 0.0, ""
    running: list[tuple[float, int, Ticket, float]] = []

    def call(member: Member) -> Ticket:
        real = rng.uniform(0.2, member.longest_s)
        ticket = Ticket(member.name, rng.choice(member.models), False, real * member.guess, now, member.weight)
        takes[id(ticket)] = real
        kept.append(ticket)
        return ticket

    takes: dict[int, float] = {}
    kept: list[Ticket] = []
    by_name = {each.name: each for each in members}
    for member in members:
        for _ in range(member.depth):
            share.join(call(member))
    while now < until_s:
        while len(running) < slots and (ticket := share.next(now)) is not None:
            outcome.waits.setdefault(ticket.member, []).append(now - ticket.since)
            outcome.switches += ticket.model != last
            outcome.calls += 1
            last = ticket.model
            heapq.heappush(running, (now + takes[id(ticket)], outcome.calls, ticket, now))
            share.join(call(by_name[ticket.member]))
        now, _, ticket, began = heapq.heappop(running)
        share.end(ticket, now - began)
        outcome.had_s[ticket.member] += now - began
    return outcome


_MEMBERS = st.lists(
    st.builds(
        Member,
        name=st.just(""),
        weight=st.integers(1, 5),
        models=st.sampled_from([("a",), ("b",), ("a", "b"), ("a", "b", "c")]),
        longest_s=st.floats(0.5, 20.0),
        guess=st.floats(0.2, 5.0),
        depth=st.integers(4, 12),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=25, deadline=None, phases=NO_SHRINKING)
@given(members=_MEMBERS, slots=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_everybody_gets_their_share_within_five_percent(members: list[Member], slots: int, seed: int) -> None:
    for number, member in enumerate(members):
        member.name = f"m{number}"
    outcome = _simulate(members, slots=slots, until_s=20_000, seed=seed)
    whole, weights = sum(outcome.had_s.values()), sum(each.weight for each in members)
    for member in members:
        assert abs(outcome.had_s[member.name] / whole * weights / member.weight - 1) < 0.05, member


@settings(max_examples=25, deadline=None, phases=NO_SHRINKING)
@given(members=_MEMBERS, seed=st.integers(0, 2**32))
def test_nobody_waits_longer_than_a_bound_that_their_weight_gives(members: list[Member], seed: int) -> None:
    for number, member in enumerate(members):
        member.name, member.depth, member.guess = f"m{number}", 1, 1.0
    outcome = _simulate(members, slots=1, until_s=3_000, seed=seed)
    longest = max(each.longest_s for each in members)
    weights = sum(each.weight for each in members)
    for member in members:
        others = [each for each in members if each is not member]
        # what others may run before one call of mine: their share while my last call is paid off, a call each, and what
        # affinity moves: the lead that the loaded model may have given to me, and then the one that it gives to them
        bound = member.longest_s * weights / member.weight + len(others) * longest + 2 * AFFINITY_S * weights
        assert max(outcome.waits[member.name]) <= bound + longest


def test_a_model_is_kept_loaded_for_a_few_calls_and_shares_stay() -> None:
    members = [Member(f"m{number}", 1, (model,), 4.0, 1.0, 4) for number, model in enumerate("abab")]
    outcome = _simulate(members, slots=1, until_s=20_000, seed=7)
    assert outcome.switches < outcome.calls / 3
    assert max(outcome.had_s.values()) / min(outcome.had_s.values()) < 1.05


def test_a_person_goes_before_background_work_and_that_waits_a_bounded_time() -> None:
    share = FairShare()
    work = Ticket("ada", "m", True, 5.0, since=0.0)
    share.join(work)
    turns = [Ticket("bob", "m", False, 5.0, since=float(second)) for second in range(30)]
    for turn in turns:
        share.join(turn)
    assert share.order(30.0)[-1] is work
    now, ran = 30.0, list[Ticket]()
    while (chosen := share.next(now)) is not None:
        ran.append(chosen)
        now += 5.0
        share.end(chosen, 5.0)
    position = ran.index(work)
    assert position >= 1
    assert 30.0 + position * 5.0 <= PATIENCE_S + 5.0


def test_whoever_was_idle_saves_up_no_lead() -> None:
    share = FairShare()
    for _ in range(100):
        share.join(ticket := Ticket("ada", "m", False, 1.0, 0.0))
        assert share.next(0.0) is ticket
        share.end(ticket, 1.0)
    for number in range(20):
        share.join(Ticket("ada", "m", False, 1.0, float(number)))
        share.join(Ticket("bob", "m", False, 1.0, float(number)))
    first = [chosen.member for _ in range(10) if (chosen := share.next(20.0))]
    assert 4 <= first.count("bob") <= 6


def test_who_leaves_the_queue_is_not_called() -> None:
    share = FairShare()
    tickets = [Ticket(name, "m", False, 1.0, 0.0) for name in ("ada", "ada", "bob")]
    for each in tickets:
        share.join(each)
    share.leave(tickets[0])
    assert (len(share.order(0.0)), share.waiting_of("ada")) == (2, 1)
    assert {share.next(0.0), share.next(0.0)} == {tickets[1], tickets[2]}
    assert share.next(0.0) is None

"""How far workspaces reach on the internet: modes, lists of hosts, what they ask for, and with whom they spoke."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from clawloops.model.egress import EVERYBODY, Mode, Outcome, Policy, Source
from clawloops.model.egress import Rule as KeptRule
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import A_TEXT, AN_INT, LAST, Listed, Paged, key_in, listed, page_of
from clawloops.web.api.shapes import Given, Id, Instant, Place, Shown, at
from clawloops.web.api.workspace import chosen
from clawloops.web.context import EGRESS

Port = Annotated[int, Meta(ge=1, le=65535)]


class Reach(Shown, frozen=True):
    mode: Mode
    asks: bool
    """Whether a person is asked about a host that no rule names."""
    is_usual: bool
    """Whether it is what holds for everybody."""


class Rule(Shown, frozen=True):
    id: str
    place: str
    allows: bool
    """A refusal beats whatever allows a host."""
    source: Source
    made_at: Instant


class NewRule(Given, frozen=True):
    place: Place
    allows: bool = True


class Question(Shown, frozen=True):
    """May the workspace connect there?"""

    host: str
    port: int
    since: Instant
    waiting: int
    """Connections that wait for the answer now."""


class Answer(Given, frozen=True):
    host: Place
    port: Port
    allow: bool


class Receipt(Shown, frozen=True):
    """What a workspace had to do with one place in one hour."""

    hour: Instant
    host: str
    port: int
    outcome: Outcome
    address: str
    connections: int
    sent_bytes: int
    received_bytes: int
    first_at: Instant
    last_at: Instant


async def show(call: Call, id: Id = "") -> Reach:
    owner = await _owner(call, id)
    return _reach(call.app[EGRESS].policy_of(owner), is_usual=not call.app[EGRESS].has_own_policy(owner))


async def show_usual(call: Call) -> Reach:
    """What holds for whoever has no policy of their own."""
    return _reach(call.app[EGRESS].usual, is_usual=True)


async def lock(call: Call, id: Id = "") -> Reach:
    """End learning: from now on only what is on the list."""
    await call.app[EGRESS].lock(await _owner(call, id), by=call.user)
    return await show(call, id)


async def list_rules(call: Call, query: Paged, id: Id = "") -> Listed[Rule]:
    """The workspace's own, oldest first."""
    return _rules(call, query, await _owner(call, id))


async def list_usual_rules(call: Call, query: Paged) -> Listed[Rule]:
    """Everybody's, oldest first."""
    return _rules(call, query, EVERYBODY)


async def add_rule(call: Call, body: NewRule, id: Id = "") -> Rule:
    """Or change the one of the same place."""
    owner = await _owner(call, id)
    return _rule(await call.app[EGRESS].add(owner, body.place, allows=body.allows, by=call.user))


async def remove_rule(call: Call, rule: Id, id: Id = "") -> None:
    await call.app[EGRESS].remove(await _owner(call, id), rule, by=call.user)


async def list_questions(call: Call, query: Paged, id: Id = "") -> Listed[Question]:
    """Oldest first."""
    return page_of(
        call.app[EGRESS].questions(await _owner(call, id)),
        query,
        key=lambda each: (each.since, f"{each.host} {each.port}"),
        show=lambda each: Question(host=each.host, port=each.port, since=at(each.since), waiting=each.waiting),
    )


async def answer(call: Call, body: Answer, id: Id = "") -> None:
    """Once and for all: it becomes a rule."""
    owner = await _owner(call, id)
    await call.app[EGRESS].answer(owner, body.host, body.port, allow=body.allow, by=call.user)


async def list_receipts(call: Call, query: Paged, id: Id = "") -> Listed[Receipt]:
    """Latest hour first, and within it by place; kept for 90 days."""
    after = key_in(query, tuple[AN_INT, A_TEXT, AN_INT, A_TEXT], start=(LAST, "", 0, ""))
    owner = await _owner(call, id)
    found = await call.app[EGRESS].receipts_after(owner, after, query.limit + 1, by=call.user)
    return listed(
        found,
        query,
        key=lambda each: (each.hour, each.host, each.port, each.outcome.value),
        show=lambda each: Receipt(
            hour=at(each.hour),
            host=each.host,
            port=each.port,
            outcome=each.outcome,
            address=each.address,
            connections=each.connections,
            sent_bytes=each.sent,
            received_bytes=each.received,
            first_at=at(each.first_at),
            last_at=at(each.last_at),
        ),
    )


async def _owner(call: Call, id: str) -> str:
    """The member whose workspace it is; oneself for "", also before there is a workspace."""
    return (await chosen(call, id)).owner if id else call.user.id


def _reach(policy: Policy, *, is_usual: bool) -> Reach:
    return Reach(mode=policy.mode, asks=policy.asks, is_usual=is_usual)


def _rules(call: Call, query: Paged, owner: str) -> Listed[Rule]:
    rules = call.app[EGRESS].rules_of(owner)
    return page_of(rules, query, key=lambda each: (each.created_at, each.id), show=_rule)


def _rule(rule: KeptRule) -> Rule:
    return Rule(id=rule.id, place=rule.place, allows=rule.allows, source=rule.source, made_at=at(rule.created_at))

"""How far workspaces reach: admins set it, members keep their own list, and what was reached is written down."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import BadInput, ClawLoopsError, Forbidden, NotFound
from clawloops.finishing import finish
from clawloops.gateway.asking import Asking, Question
from clawloops.gateway.permits import Permits
from clawloops.gateway.receipts import Receipts
from clawloops.model.account import User
from clawloops.model.egress import EVERYBODY, Mode, Policy, Receipt, Rule, Source, Verdict, place_of, placed
from clawloops.store import egress
from clawloops.store.db import Database

MOST_RULES = 500  # of one member, or of everybody
PAGE = 100  # receipts
WRITE_EVERY_S = 1.0
KEPT_MS = 90 * 24 * 60 * 60 * 1000
_SWEEP_EVERY = 3600  # writes
_AT_ONCE = 50  # receipts in one transaction, which others wait for
log = logging.getLogger(__name__)


class Egress:
    def __init__(self, db: Database, audit: Audit, *, keep: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        """`keep` runs something beside the connections."""
        self._db = db
        self._audit = audit
        self._learning: set[tuple[str, str, int]] = set()
        self._keep = keep
        self.permits = Permits(on_learned=self._learned)
        self.asking = Asking()
        self.receipts = Receipts()

    async def load(self) -> None:
        """Read from the store what connections are judged by."""
        self.permits.set_usual(await egress.usual(self._db))
        for user_id, policy in (await egress.policies(self._db)).items():
            self.permits.set_policy(user_id, policy)
        rules: dict[str, list[Rule]] = {}
        for rule in await egress.rules(self._db):
            rules.setdefault(rule.user_id, []).append(rule)
        for user_id, theirs in rules.items():
            self.permits.set_rules(user_id, theirs)

    async def run(self) -> None:
        """Write receipts down each second until cancelled. What cannot be written is kept, and tried again."""
        count = 0
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()
            count += 1
            if count % _SWEEP_EVERY == 1:
                await self._sweep()

    async def write(self) -> None:
        """Write down what was counted since the last time, to the end even when a reader of a page leaves meanwhile."""
        await finish(self._write())

    async def _write(self) -> None:
        taken = self.receipts.take()
        while taken:
            piece, taken = taken[:_AT_ONCE], taken[_AT_ONCE:]
            try:
                await egress.add_receipts(self._db, piece)
            except ClawLoopsError as error:
                self.receipts.give_back(piece + taken)
                log.error("receipts of connections are not yet in the store: %s", error)
                return

    async def receipts_of(self, user_id: str, *, by: User, page: int = 0) -> list[Receipt]:
        """A page of a member's receipts, latest first, and one more where another page follows."""
        _may(by, user_id)
        await self.write()
        return await egress.receipts(self._db, user_id, limit=PAGE + 1, skip=page * PAGE)

    async def receipts_after(
        self, user_id: str, after: tuple[int, str, int, str], limit: int, *, by: User
    ) -> list[Receipt]:
        """A member's receipts, latest hour first, from behind an hour, host, port and outcome. Raises Forbidden."""
        _may(by, user_id)
        await self.write()
        return await egress.receipts_after(self._db, user_id, after, limit=limit)

    def questions(self, user_id: str) -> list[Question]:
        """What a person is asked about this member's workspace, oldest first."""
        return self.asking.of(user_id)

    def policy_of(self, user_id: str) -> Policy:
        return self.permits.policy_of(user_id)

    @property
    def usual(self) -> Policy:
        """What holds for whoever has no policy of their own."""
        return self.permits.usual

    def has_own_policy(self, user_id: str) -> bool:
        return self.permits.has_own(user_id)

    def allows(self, user_id: str, host: str, port: int) -> bool:
        """Whether its workspace may connect there now, without anybody being asked."""
        return self.permits.allows(user_id, host, port)

    def rules_of(self, user_id: str) -> Sequence[Rule]:
        return self.permits.rules_of(user_id)

    async def set_policy(self, user_id: str, policy: Policy | None, *, by: User) -> None:
        """How far a member's workspace reaches; of EVERYBODY: the usual one. None: as is usual. Raises Forbidden."""
        _admin(by)
        if user_id == EVERYBODY:
            usual = policy or Policy()
            await egress.set_usual(self._db, usual)
            self.permits.set_usual(usual)
        else:
            await egress.set_policy(self._db, user_id, policy)
            self.permits.set_policy(user_id, policy)
        self._settle()
        words = f"{policy.mode}{', asks' if policy.asks else ''}" if policy else "as usual"
        await self._audit.record(by.id, "internet access set", user_id or "everybody", words)

    async def lock(self, user_id: str, *, by: User) -> None:
        """End learning: from now on only what is on the list. Its member may do that too. Raises Forbidden."""
        _may(by, user_id)
        policy = self.permits.policy_of(user_id)
        if policy.mode is not Mode.LEARNING:
            return
        locked = replace(policy, mode=Mode.LISTED)
        await egress.set_policy(self._db, user_id, locked)
        self.permits.set_policy(user_id, locked)
        await self._audit.record(by.id, "internet access locked", user_id)

    async def add(self, user_id: str, text: str, *, allows: bool, by: User) -> Rule:
        """A rule as somebody writes it. Raises BadInput, Forbidden."""
        _may(by, user_id)
        place = placed(text)
        if place is None:
            raise BadInput(
                "Write a host such as example.org, *.example.org or example.org:8443, without https:// and a path.",
                field="place",
            )
        return await self._put(user_id, place, allows=allows, source=Source.SET, by=by)

    async def answer(self, user_id: str, host: str, port: int, *, allow: bool, by: User) -> None:
        """Answer a question once and for all. Raises NotFound when nobody asks (any more), Forbidden."""
        _may(by, user_id)
        if not any((each.host, each.port) == (host, port) for each in self.asking.of(user_id)):
            raise NotFound("Nobody waits for this answer any more. Add the host to the list below.")
        await self._put(user_id, place_of(host, port), allows=allow, source=Source.ANSWERED, by=by)

    async def remove(self, user_id: str, rule_id: str, *, by: User) -> None:
        """Raises NotFound, Forbidden."""
        _may(by, user_id)
        rule = await egress.delete_rule(self._db, rule_id, user_id)
        if rule is None:
            raise NotFound("This rule was removed already. Reload the page.")
        await self._reload(user_id)
        await self._audit.record(by.id, "internet rule removed", user_id or "everybody", _words(rule))

    async def _put(
        self, user_id: str, place: tuple[str, int], *, allows: bool, source: Source, by: User | None
    ) -> Rule:
        known = self.permits.rules_of(user_id)
        if len(known) >= MOST_RULES and not any((rule.host, rule.port) == place for rule in known):
            raise BadInput(f"There are {MOST_RULES} rules already. Remove some that are not needed.", field="place")
        rule = Rule("e" + secrets.token_hex(8), user_id, *place, allows, source, now_ms())
        await egress.put_rule(self._db, rule)
        await self._reload(user_id)
        if by is not None:
            await self._audit.record(by.id, "internet rule set", user_id or "everybody", _words(rule))
        kept = (each for each in self.permits.rules_of(user_id) if (each.host, each.port) == place)
        return next(kept, rule)  # one that was there keeps its id

    async def _reload(self, user_id: str) -> None:
        self.permits.set_rules(user_id, await egress.rules(self._db, user_id))
        self._settle()

    def _settle(self) -> None:
        """What was asked about may be decided now."""
        self.asking.settle(lambda *place: self.permits.decide(*place) is not Verdict.ASK)

    def _learned(self, user_id: str, host: str, port: int) -> None:
        place = (user_id, *place_of(host, port))
        is_full = len(self.permits.rules_of(user_id)) >= MOST_RULES
        if place not in self._learning and len(self._learning) < MOST_RULES and not is_full:
            self._learning.add(place)
            self._keep(self._learn(*place))

    async def _learn(self, user_id: str, host: str, port: int) -> None:
        try:
            if self.permits.decide(user_id, host, port or 443) is not Verdict.LEARN:
                return  # somebody has decided meanwhile
            await self._put(user_id, (host, port), allows=True, source=Source.LEARNED, by=None)
        except ClawLoopsError as error:  # it is learned when it is next connected to
            log.warning("%s was not learned for %s: %s", host, user_id, error)
        finally:
            self._learning.discard((user_id, host, port))

    async def _sweep(self) -> None:
        try:
            await egress.forget_receipts(self._db, now_ms() - KEPT_MS)
        except ClawLoopsError as error:
            log.error("old receipts were not forgotten: %s", error)


def _words(rule: Rule) -> str:
    return f"{'allow' if rule.allows else 'refuse'} {rule.place}"


def _may(by: User, user_id: str) -> None:
    if user_id == EVERYBODY or by.id != user_id:
        _admin(by)


def _admin(by: User) -> None:
    if not by.role.administers:
        raise Forbidden("Only an admin can change how far a workspace reaches.")

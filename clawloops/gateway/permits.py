"""What each workspace may reach on the internet: in memory only, changed by the control plane in one loop turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clawloops.model.egress import EVERYBODY, Policy, Rule, Rules, Verdict, decide

_NONE: tuple[Sequence[Rule], Rules] = ((), Rules())


class Permits:
    def __init__(self, *, on_learned: Callable[[str, str, int], None] = lambda user_id, host, port: None) -> None:
        """`on_learned(user_id, host, port)`: a workspace that learns has connected to a new place."""
        self._on_learned = on_learned
        self.version = 0  # grows with each change
        self._usual = Policy()
        self._policies: dict[str, Policy] = {}
        self._rules: dict[str, tuple[Sequence[Rule], Rules]] = {}

    def set_usual(self, policy: Policy) -> None:
        """What holds for whoever has no policy of their own."""
        self._usual = policy
        self.version += 1

    def set_policy(self, user_id: str, policy: Policy | None) -> None:
        """None: the usual one."""
        if policy is None:
            self._policies.pop(user_id, None)
        else:
            self._policies[user_id] = policy
        self.version += 1

    def set_rules(self, user_id: str, rules: Sequence[Rule]) -> None:
        """Replace a member's own, or those of EVERYBODY."""
        self._rules[user_id] = (tuple(rules), Rules(rules))
        self.version += 1

    @property
    def usual(self) -> Policy:
        """What holds for whoever has no policy of their own."""
        return self._usual

    def has_own(self, user_id: str) -> bool:
        return user_id in self._policies

    def policy_of(self, user_id: str) -> Policy:
        return self._policies.get(user_id, self._usual)

    def rules_of(self, user_id: str) -> Sequence[Rule]:
        """Their own alone, oldest first; of EVERYBODY those that hold for all."""
        return self._rules.get(user_id, _NONE)[0]

    def decide(self, user_id: str, host: str, port: int) -> Verdict:
        _, own = self._rules.get(user_id, _NONE)
        _, everybody = self._rules.get(EVERYBODY, _NONE)
        return decide(self.policy_of(user_id), own, everybody, host, port)

    def allows(self, user_id: str, host: str, port: int) -> bool:
        return self.decide(user_id, host, port) in (Verdict.PASS, Verdict.LEARN)

    def learn(self, user_id: str, host: str, port: int) -> None:
        self._on_learned(user_id, host, port)

"""An identity provider that people may sign in with (OpenID Connect): what an admin set, and whom it says to have sent.

https://openid.net/specs/openid-connect-core-1_0.html; an account here belongs to an issuer's `sub`, and to nothing else
that it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from clawloops.model.account import Role


class FirstLogin(StrEnum):
    """What becomes of somebody whom the provider knows and this box does not."""

    REFUSED = "refused"
    INVITED = "invited"  # with an admin's invitation link alone
    MEMBERS = "members"  # a new account, for whoever fulfils the conditions


@dataclass(frozen=True, slots=True)
class Rule:
    """What being in one of the provider's groups means here."""

    claimed: str  # the group's name as the provider says it
    role: Role  # never OWNER
    group_id: str | None = None  # a group of this box to be in


@dataclass(frozen=True, slots=True, kw_only=True)
class Newcomer:
    """Whom the provider has sent, as its checked ID token and userinfo say."""

    issuer: str
    subject: str
    name: str
    login: str  # what they are called there: a wish, no proof of anything
    email: str  # "" unless the provider has verified it
    groups: frozenset[str]
    authenticated_at: int | None  # Unix s; when they last gave the provider a proof, where it says so

    @property
    def domain(self) -> str:
        return self.email.rpartition("@")[2].lower()

    @property
    def said(self) -> str:
        """What they recognise this identity by."""
        return self.email or self.login or self.subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """The provider as an admin set it up; its client secret is elsewhere."""

    url: str  # its issuer identifier, exactly as it calls itself
    client_id: str
    label: str  # on the button: "Sign in with <label>"
    scopes: str  # with spaces; "openid" is one of them
    ca: str  # PEM of the authorities that its certificate is trusted by; "": the system's
    first_login: FirstLogin
    groups_claim: str
    domains: tuple[str, ...]
    rules: tuple[Rule, ...]
    is_only: bool  # passwords and passkeys of this box sign in nobody but the owner

    @property
    def has_conditions(self) -> bool:
        return bool(self.rules or self.domains)

    @property
    def decides_roles(self) -> bool:
        """A box without a rule for admins appoints them itself."""
        return any(each.role is Role.ADMIN for each in self.rules)

    def admits(self, who: Newcomer) -> bool:
        """Whether they fulfil the conditions, of which one is enough: a group with a rule, or a verified domain."""
        return not self.has_conditions or bool(self.matched(who)) or who.domain in self.domains

    def matched(self, who: Newcomer) -> tuple[Rule, ...]:
        return tuple(each for each in self.rules if each.claimed in who.groups)

    def role_of(self, who: Newcomer, now: Role) -> Role:
        """The role that they have from this sign-in on. The owner and viewers are this box's own, and stay so."""
        if now in (Role.OWNER, Role.VIEWER) or not self.decides_roles:
            return now
        return Role.ADMIN if any(each.role is Role.ADMIN for each in self.matched(who)) else Role.MEMBER

    def places_of(self, who: Newcomer) -> tuple[frozenset[str], frozenset[str]]:
        """Ids of this box's groups that they have to be in, and of those that they must not be in (any more)."""
        gained = frozenset(each.group_id for each in self.matched(who) if each.group_id)
        return gained, frozenset(each.group_id for each in self.rules if each.group_id) - gained

    @property
    def wanted_claims(self) -> frozenset[str]:
        """What is asked of userinfo when the ID token does not say it."""
        asked = {"name", "preferred_username", "email", "email_verified"}
        return frozenset(asked | ({self.groups_claim} if self.rules else set()))


@dataclass(frozen=True, slots=True)
class Identity:
    """An account here and who its owner is to an issuer."""

    issuer: str
    subject: str
    user_id: str
    said: str
    linked_at: int  # Unix ms
    used_at: int
    unlinked_at: int | None = None  # it signs nobody in since; kept so that somebody disabled is known

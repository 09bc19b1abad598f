"""Second factors: what proves a person besides a password. All instants are Unix ms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from clawloops.model.account import Role


class Requirement(StrEnum):
    """Of whom this box demands a second factor."""

    OFF = "off"
    ADMINS = "admins"
    EVERYBODY = "everybody"

    def covers(self, role: Role) -> bool:
        match self:
            case Requirement.OFF:
                return False
            case Requirement.ADMINS:
                return role.administers
            case Requirement.EVERYBODY:
                return True


@dataclass(frozen=True, slots=True)
class Passkey:
    """A WebAuthn credential (https://www.w3.org/TR/webauthn-3/), as its public half is known here."""

    id: str  # "p" + 16 hex
    user_id: str
    credential_id: bytes  # chosen by the authenticator
    public_key: bytes  # COSE_Key, CBOR
    handle: bytes  # random, the same for all passkeys of one member; what authenticators know the member by
    sign_count: int  # uses as its authenticator counts them; 0 for ever where it counts none
    name: str  # its owner's word for it
    created_at: int
    used_at: int  # 0: never


@dataclass(frozen=True, slots=True)
class Standing:
    """What a member has set up."""

    app_since: int | None  # the authenticator app
    passkeys: tuple[Passkey, ...]  # oldest first
    codes_left: int  # recovery codes not used yet
    code_used_at: int | None  # the last time that one was

    @property
    def has_factor(self) -> bool:
        """Whether a password alone no longer signs in. Recovery codes stand in for a factor, and are none."""
        return self.app_since is not None or bool(self.passkeys)

"""Passkeys (WebAuthn level 3, by the library `webauthn`): registered, and used as both factors in one or as the second.

User verification (a PIN, a finger, a face) is always demanded, so a passkey alone proves a person. Answers are taken
from the dashboard's exact origin only: a workspace's page, on a host below it, can ask an authenticator in the same
name. For the same reason a member's handle is random and told to no workspace: its page could overwrite a passkey.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import parse_client_data_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.control.challenges import VALID_MS, Challenges
from clawloops.control.factors import Factors
from clawloops.errors import BadInput, Conflict, NotFound
from clawloops.model.account import User
from clawloops.model.factor import Passkey
from clawloops.store import passkeys
from clawloops.store.db import Database

MOST = 20
_USE = "use"
REFUSED = "This passkey was not accepted. Try again, or use another way."
_MALFORMED = (WebAuthnException, ValueError, TypeError, KeyError, AttributeError, RecursionError)
"""What the library raises for what an authenticator would never send."""


@dataclass(frozen=True, slots=True)
class Party:
    """The relying party, which authenticators tie a passkey to."""

    id: str  # the dashboard's host name
    origin: str  # and its origin


class Passkeys:
    def __init__(self, db: Database, factors: Factors, audit: Audit, *, party: Party) -> None:
        self._db = db
        self._factors = factors
        self._audit = audit
        self._party = party
        self._challenges = Challenges()

    async def options_to_add(self, *, by: User, tied_to: str) -> str:
        """What `navigator.credentials.create` is told, as JSON. `tied_to`: a secret of this browser."""
        mine = await passkeys.of(self._db, by.id)
        challenge = self._challenges.give(_purpose_of_adding(mine), tied_to=tied_to)
        options = generate_registration_options(
            rp_id=self._party.id,
            rp_name="ClawLoops",
            user_id=_handle(mine, challenge),
            user_name=by.login,
            user_display_name=by.name,
            challenge=challenge,
            timeout=VALID_MS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=_descriptors(mine),
        )
        return options_to_json(options)

    async def add(self, answer: str, *, name: str, by: User, tied_to: str) -> list[str]:
        """Keep what the browser answered. Raises BadInput.

        Returns recovery codes when these are the member's first ones.
        """
        name = " ".join(name.split())
        if not 1 <= len(name) <= 60:
            raise BadInput("Give it a name of 1 to 60 characters: the device that it is on.", field="name")
        mine = await passkeys.of(self._db, by.id)
        if len(mine) >= MOST:
            raise BadInput(f"You have {MOST} passkeys already. Remove one that you no longer use.", field="name")
        try:
            sent, challenge = _read(answer)
            self._challenges.use(challenge, _purpose_of_adding(mine), tied_to=tied_to)
            made = verify_registration_response(
                credential=sent,
                expected_challenge=challenge,
                expected_rp_id=self._party.id,
                expected_origin=self._party.origin,
                require_user_verification=True,
            )
        except _MALFORMED as error:
            raise BadInput(REFUSED) from error
        now = now_ms()
        passkey = Passkey(
            id="p" + secrets.token_hex(8),
            user_id=by.id,
            credential_id=made.credential_id,
            public_key=made.credential_public_key,
            handle=_handle(mine, challenge),
            sign_count=made.sign_count,
            name=name,
            created_at=now,
            used_at=0,
        )
        try:
            async with self._db.transaction():
                await passkeys.add(self._db, passkey)
                codes = await self._factors.first_codes(by)
                await self._audit.record(by.id, "passkey added", by.login, name)
        except Conflict:
            raise BadInput("This passkey is registered already.") from None
        await self._factors.load()
        return codes

    async def options_to_use(self, *, of: User | None, tied_to: str) -> str:
        """What `navigator.credentials.get` is told, as JSON. `of` None: any member's that the authenticator knows."""
        options = generate_authentication_options(
            rp_id=self._party.id,
            challenge=self._challenges.give(_USE, tied_to=tied_to),
            timeout=VALID_MS,
            allow_credentials=_descriptors(await passkeys.of(self._db, of.id)) if of else None,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json(options)

    async def use(self, answer: str, *, of: User | None, tied_to: str, address: str) -> str:
        """The id of the member whose passkey answered. Raises BadInput that does not say which part was wrong.

        `of`: whose it must be; None: whose the answer says that it is.
        """
        try:
            sent, challenge = _read(answer)
            known = await passkeys.by_credential(self._db, base64url_to_bytes(sent["rawId"]))
            if known is None or (of is not None and known.user_id != of.id):
                raise BadInput(REFUSED)
            self._challenges.use(challenge, _USE, tied_to=tied_to)
            handle = sent["response"].get("userHandle") or ""
            if base64url_to_bytes(handle) != known.handle and (handle or of is None):
                raise BadInput(REFUSED)
            done = verify_authentication_response(
                credential=sent,
                expected_challenge=challenge,
                expected_rp_id=self._party.id,
                expected_origin=self._party.origin,
                credential_public_key=known.public_key,
                credential_current_sign_count=0,  # compared below, with nobody able to come in between
                require_user_verification=True,
            )
        except _MALFORMED as error:
            raise BadInput(REFUSED) from error
        if not await passkeys.use(self._db, known.id, sign_count=done.new_sign_count, at=now_ms()):
            detail = f"{known.name}: its counter went back, maybe it was copied; from {address}"
            await self._audit.record_refused(known.user_id, "passkey refused", known.id, detail)
            raise BadInput(REFUSED)
        return known.user_id

    async def remove(self, passkey_id: str, *, by: User) -> None:
        """Remove one of one's own. Raises NotFound."""
        async with self._db.transaction():
            gone = await passkeys.delete(self._db, passkey_id, by.id)
            if gone is None:
                raise NotFound("There is no such passkey (any more). Reload the page.")
            await self._audit.record(by.id, "passkey removed", by.login, gone.name)
            await self._factors.drop_unneeded_codes(by)
        await self._factors.load()


def _purpose_of_adding(mine: Sequence[Passkey]) -> str:
    """With the handle that the authenticator is told: were another one right by then, its answer would fit no more."""
    return f"add {mine[0].handle.hex() if mine else 'the first'}"


def _handle(mine: Sequence[Passkey], challenge: bytes) -> bytes:
    """What a member's authenticators know them by: of the first passkey, and before that made from its challenge."""
    return mine[0].handle if mine else hashlib.sha256(challenge).digest()


def _descriptors(known: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=each.credential_id) for each in known]


def _read(answer: str) -> tuple[dict[str, Any], bytes]:
    """A browser's answer and the challenge in it, both still to be checked. Raises what `_MALFORMED` lists."""
    sent = orjson.loads(answer)
    return sent, parse_client_data_json(base64url_to_bytes(sent["response"]["clientDataJSON"])).challenge

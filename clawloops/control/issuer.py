"""The identity provider of this box: set up by an admin after it was really asked, and asked for whom it knows."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.control.trips import Purpose, Trip, Trips
from clawloops.errors import BadInput, BadIssuer, Conflict, Forbidden, NotFound, NotSignedIn, SealBroken, Unavailable
from clawloops.model.account import Role, User
from clawloops.model.issuer import FirstLogin, Issuer, Newcomer
from clawloops.oidc.discovery import WELL_KNOWN
from clawloops.oidc.fetch import Way, is_own_machine, trust_in
from clawloops.oidc.provider import Asking, Provider
from clawloops.store import issuers
from clawloops.store.db import Database
from clawloops.store.seal import Sealed, Sealer

RETURN = "/sign-in/return"
MOST_RULES, MOST_DOMAINS = 50, 20
_MOST_CA = 32 * 1024
_WORD = re.compile(r"[!-~]{1,500}", re.ASCII)
_SCOPE = re.compile(r"[!#-\[\]-~]{1,100}", re.ASCII)  # RFC 6749, 3.3
_DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}")
_LINE = re.compile(r"[^\x00-\x1f\x7f]*")
AUTH_LEEWAY_S = 60
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Query:
    """What the provider has sent a browser back with; None for what was not there."""

    state: str | None
    code: str | None = field(repr=False)
    iss: str | None = None
    error: str | None = None


def place_of(issuer: Issuer) -> dict[str, str]:
    """What the client secret is sealed for."""
    return {"table": issuers.TABLE, "provider": issuer.url, "owner": issuer.client_id}


class Issuers:
    def __init__(
        self, db: Database, sealer: Sealer, audit: Audit, session: aiohttp.ClientSession, *, origin: str
    ) -> None:
        """`origin`: the dashboard's. `session`: without cookies, for the calls to the provider."""
        self._db = db
        self._sealer = sealer
        self._audit = audit
        self._session = session
        self._trips = Trips()
        self._sealed: Sealed | None = None
        self._provider: Provider | None = None
        self.redirect = origin + RETURN
        self.current: Issuer | None = None

    async def load(self) -> None:
        """Read it from the store. A secret that does not open is told to whoever comes, and stops nothing else."""
        kept = await issuers.get(self._db)
        self.current, self._sealed, self._provider = (kept.issuer, kept.sealed, None) if kept else (None, None, None)
        if kept is not None:
            try:
                self._provider = self._provider_of(kept.issuer, self._secret_of(kept.issuer))
            except SealBroken as error:
                log.error("nobody can sign in with %s: %s", kept.issuer.label, error)

    def closes(self, role: Role) -> bool:
        """Whether what this box itself knows of people (a password, a passkey) signs those of a role in no more."""
        return self.current is not None and self.current.is_only and role is not Role.OWNER

    async def set(self, wanted: Issuer, *, secret: str, by: User) -> None:
        """Set it up, or change it, once the provider has answered well. `secret` "": the one that is kept.

        Raises BadInput with the field that is wrong.
        """
        _admin(by)
        wanted = _tidy(wanted)
        if not _LINE.fullmatch(secret) or len(secret) > 1000:
            raise BadInput("A client secret is one line of at most 1000 characters.", field="client_secret")
        if not secret and self.current is not None and _is_same(self.current, wanted):
            secret = self._secret_of(self.current)
        if not secret:
            raise BadInput("Enter the client secret that the provider gave you.", field="client_secret")
        wanted = replace(wanted, url=await self._checked(wanted, secret))
        version = self._sealed.version + 1 if self._sealed else 1
        sealed = self._sealer.seal(secret, credential_id=issuers.ID, version=version, **place_of(wanted))
        try:
            async with self._db.transaction():
                await issuers.put(self._db, wanted, sealed, now_ms())
                await self._audit.record(by.id, "identity provider set", wanted.url, _in_words(wanted))
        except Conflict:
            raise BadInput("A group of this list was removed meanwhile. Reload the page.", field="claimed") from None
        await self.load()

    async def remove(self, *, by: User) -> None:
        """Nobody signs in with it from now on; who is signed in stays so. Raises NotFound."""
        _admin(by)
        if self.current is None:
            raise NotFound("There is no identity provider. Reload the page.")
        async with self._db.transaction():
            await issuers.delete(self._db)
            await self._audit.record(by.id, "identity provider removed", self.current.url)
        await self.load()

    async def begin(self, purpose: Purpose, *, tied_to: str, onward: str = "/", bound_to: str = "") -> str:
        """Where to send this browser. Raises NotFound without a provider, and Unavailable."""
        issuer, provider = self._set_up()
        trip = Trip(purpose, issuer.url, issuer.client_id, now_ms(), onward, bound_to)
        asking = self._trips.begin(trip, tied_to=tied_to)
        try:
            return await provider.address(asking, scopes=issuer.scopes, anew=purpose.is_anew)
        except (Unavailable, BadIssuer) as error:
            raise Unavailable(self._sorry(issuer, error)) from error

    def come_back(self, query: Query, *, tied_to: str) -> tuple[Trip, Asking]:
        """The trip that an answer belongs to, used up. Raises BadInput."""
        return self._trips.end(query.state or "", tied_to=tied_to)

    async def who(self, query: Query, trip: Trip, asking: Asking) -> Newcomer:
        """Whom the provider has sent back. Raises NotSignedIn that says why nobody is believed, and Unavailable."""
        issuer, provider = self._set_up()
        if (trip.issuer, trip.client_id) != (issuer.url, issuer.client_id):
            raise NotSignedIn("The identity provider was changed just now. Try again.")
        try:
            await provider.check_sender(query.iss)
            if query.error is not None or not query.code:
                raise NotSignedIn(_refused(issuer, query.error))
            claims = await provider.redeem(query.code, asking, wanted=issuer.wanted_claims)
        except BadIssuer as error:
            raise NotSignedIn(self._sorry(issuer, error)) from error
        except Unavailable as error:
            raise Unavailable(self._sorry(issuer, error)) from error
        newcomer = _newcomer(issuer, claims)
        at = newcomer.authenticated_at
        if trip.purpose.is_anew and (at is None or at < trip.begun_at // 1000 - AUTH_LEEWAY_S):
            raise NotSignedIn(f"{issuer.label} did not ask who you are, so this proves nothing. Try again.")
        return newcomer

    def _set_up(self) -> tuple[Issuer, Provider]:
        if self.current is None:
            raise NotFound("This box has no identity provider. Sign in with your password.")
        if self._provider is None:
            raise Unavailable("The identity provider's client secret does not open: an admin has to enter it again.")
        return self.current, self._provider

    def _sorry(self, issuer: Issuer, error: Exception) -> str:
        return (
            f"Signing in with {issuer.label} does not work now: {error}. Try again in a minute. If it stays so, tell "
            "an admin; whoever has a password here can use that."
        )

    def _provider_of(self, issuer: Issuer, secret: str) -> Provider:
        way = Way(self._session, trust_in(issuer.ca), may_be_plain=is_own_machine(issuer.url))
        return Provider(way, issuer=issuer.url, client_id=issuer.client_id, secret=secret, redirect=self.redirect)

    def _secret_of(self, issuer: Issuer) -> str:
        return self._sealer.open(self._sealed, **place_of(issuer)) if self._sealed else ""

    async def _checked(self, wanted: Issuer, secret: str) -> str:
        try:
            return await self._provider_of(wanted, secret).check()
        except (Unavailable, BadIssuer) as error:
            raise BadInput(f"This does not work: {error}.", field="issuer") from error


def _is_same(one: Issuer, other: Issuer) -> bool:
    """Whether a secret for one is good for the other: it goes nowhere else."""
    return (one.url.rstrip("/"), one.client_id) == (other.url.rstrip("/"), other.client_id)


def _tidy(wanted: Issuer) -> Issuer:
    """As it is kept. Raises BadInput with the field that is wrong."""
    url = wanted.url.strip().removesuffix(WELL_KNOWN)
    if not url.startswith(("https://", "http://")) or not _WORD.fullmatch(url):
        raise BadInput("Enter the issuer's address, for example https://auth.example.org.", field="issuer")
    if url.startswith("http://") and not is_own_machine(url):
        raise BadInput("An issuer needs https://: what it says is worth nothing without.", field="issuer")
    if not _WORD.fullmatch(wanted.client_id.strip()):
        raise BadInput("Enter the client id that the provider gave you.", field="client_id")
    label = " ".join(wanted.label.split())
    if not 1 <= len(label) <= 40 or not _LINE.fullmatch(label):
        raise BadInput("Give the button a name of 1 to 40 characters.", field="label")
    scopes = list(dict.fromkeys(["openid", *wanted.scopes.split()]))
    if len(scopes) > 20 or not all(_SCOPE.fullmatch(each) for each in scopes):
        raise BadInput("Scopes are words with spaces between them, at most 20.", field="scopes")
    ca = wanted.ca.strip()
    if "PRIVATE KEY" in ca:
        raise BadInput("That holds a private key. Paste the certificate alone.", field="ca")
    if len(ca) > _MOST_CA:
        raise BadInput(f"At most {_MOST_CA // 1024} KiB of certificates.", field="ca")
    trust_in(ca)
    claim = wanted.groups_claim.strip()
    if not re.fullmatch(r"[!-~]{1,100}", claim):
        raise BadInput('Name the claim that holds groups; it is often "groups".', field="groups_claim")
    domains = tuple(dict.fromkeys(each.strip("@,").lower() for each in wanted.domains if each.strip("@,")))
    if len(domains) > MOST_DOMAINS or not all(_DOMAIN.fullmatch(each) for each in domains):
        raise BadInput("Domains are like example.org, with spaces between them, at most 20.", field="domains")
    tidy = replace(wanted, client_id=wanted.client_id.strip(), label=label, scopes=" ".join(scopes), ca=ca)
    return _consistent(replace(tidy, url=url, groups_claim=claim, domains=domains))


def _consistent(wanted: Issuer) -> Issuer:
    if len(wanted.rules) > MOST_RULES or len({each.claimed for each in wanted.rules}) < len(wanted.rules):
        raise BadInput(f"Name each of the provider's groups once, at most {MOST_RULES} of them.", field="claimed")
    for each in wanted.rules:
        if each.role is Role.OWNER or not 1 <= len(each.claimed) <= 200 or not _LINE.fullmatch(each.claimed):
            raise BadInput("A group's name has 1 to 200 characters; it makes members or admins.", field="claimed")
    if wanted.first_login is FirstLogin.MEMBERS and not wanted.has_conditions:
        text = "Name a group or a domain below: else whoever has an account there comes in."
        raise BadInput(text, field="first_login")
    if wanted.first_login is FirstLogin.REFUSED and wanted.is_only:
        raise BadInput("Nobody new could ever come in: passwords are switched off, too.", field="first_login")
    return wanted


def _newcomer(issuer: Issuer, claims: Mapping[str, Any]) -> Newcomer:
    """Claims of any type, as far as they are of the right one."""
    groups = claims.get(issuer.groups_claim, [])
    listed = groups if isinstance(groups, list) else [groups]
    is_verified = claims.get("email_verified") in (True, "true")  # some say it as text
    email = _text(claims.get("email"))
    return Newcomer(
        issuer=issuer.url,
        subject=claims["sub"],
        name=_text(claims.get("name")),
        login=_text(claims.get("preferred_username")),
        email=email if is_verified and email == claims.get("email") else "",  # a cut one may be of another domain
        groups=frozenset(each for each in listed if isinstance(each, str)),
        authenticated_at=at if isinstance(at := claims.get("auth_time"), int) and not isinstance(at, bool) else None,
    )


def _text(value: object) -> str:
    """One line of what may be shown."""
    return "".join(each for each in value if each.isprintable()).strip()[:200] if isinstance(value, str) else ""


def _refused(issuer: Issuer, error: str | None) -> str:
    match error:
        case "access_denied":
            return f"{issuer.label} did not let you in here, or you have cancelled it."
        case "temporarily_unavailable" | "server_error":
            return f"{issuer.label} is in trouble. Try again in a minute."
        case _:
            return f"{issuer.label} refused to sign you in ({_text(error)[:60] or 'without a reason'}). Tell an admin."


def _in_words(issuer: Issuer) -> str:
    words = [f"client {issuer.client_id}", f"unknown people: {issuer.first_login}"]
    words += [f"{rule.claimed} is {rule.role}" for rule in issuer.rules]
    words += [f"@{domain}" for domain in issuer.domains]
    return ", ".join([*words, "passwords for the owner alone"] if issuer.is_only else words)[:900]


def _admin(user: User) -> None:
    if not user.role.administers:
        raise Forbidden("Only an admin can change how people sign in.")

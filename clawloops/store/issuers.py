"""The row of the identity provider, with its rules and its sealed client secret."""

from __future__ import annotations

from dataclasses import dataclass

from clawloops.model.account import Role
from clawloops.model.issuer import FirstLogin, Issuer, Rule
from clawloops.store.db import Database
from clawloops.store.seal import Sealed

TABLE = "issuers"
"""The table's name as it goes into the seal."""

ID = "oidc"
_SETTINGS = "url, client_id, label, scopes, ca, first_login, groups_claim, domains, is_only"
_SEAL = "version, key_id, wrapped, nonce, ciphertext"


@dataclass(frozen=True, slots=True)
class Kept:
    issuer: Issuer
    sealed: Sealed


async def get(db: Database) -> Kept | None:
    row = await db.fetchrow(f"SELECT {_SETTINGS}, {_SEAL} FROM issuers WHERE id = $1", ID)
    if row is None:
        return None
    rules = await db.fetch("SELECT claimed, role, group_id FROM issuer_rules ORDER BY position")
    issuer = Issuer(
        url=row["url"],
        client_id=row["client_id"],
        label=row["label"],
        scopes=row["scopes"],
        ca=row["ca"],
        first_login=FirstLogin(row["first_login"]),
        groups_claim=row["groups_claim"],
        domains=tuple(row["domains"].split()),
        rules=tuple(Rule(each["claimed"], Role(each["role"]), each["group_id"]) for each in rules),
        is_only=bool(row["is_only"]),
    )
    return Kept(issuer, Sealed(ID, row["version"], row["key_id"], row["wrapped"], row["nonce"], row["ciphertext"]))


async def put(db: Database, issuer: Issuer, sealed: Sealed, at: int) -> None:
    """Set it, or replace it, whole. Raises Conflict when a group of its rules is no more."""
    async with db.transaction():
        await delete(db)
        await db.execute(
            f"""INSERT INTO issuers (id, {_SETTINGS}, {_SEAL}, changed_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)""",
            *(ID, issuer.url, issuer.client_id, issuer.label, issuer.scopes, issuer.ca, issuer.first_login.value),
            *(issuer.groups_claim, " ".join(issuer.domains), issuer.is_only),
            *(sealed.version, sealed.key_id, sealed.wrapped, sealed.nonce, sealed.ciphertext, at),
        )
        for position, rule in enumerate(issuer.rules):
            await db.execute(
                "INSERT INTO issuer_rules (position, claimed, role, group_id) VALUES ($1, $2, $3, $4)",
                *(position, rule.claimed, rule.role.value, rule.group_id),
            )


async def reseal(db: Database, sealed: Sealed) -> None:
    """Replace the seal of its secret; the secret stays."""
    await db.execute(
        "UPDATE issuers SET key_id = $1, wrapped = $2, nonce = $3, ciphertext = $4 WHERE id = $5",
        *(sealed.key_id, sealed.wrapped, sealed.nonce, sealed.ciphertext, sealed.credential_id),
    )


async def delete(db: Database) -> None:
    """With its rules. Nothing happens when there is none; who people are to it is kept, should it come back."""
    async with db.transaction():
        await db.execute("DELETE FROM issuer_rules")
        await db.execute("DELETE FROM issuers")

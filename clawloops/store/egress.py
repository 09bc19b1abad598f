"""Rows of how far workspaces reach: policies, rules, and receipts that add up by hour and place."""

from __future__ import annotations

from collections.abc import Sequence

from clawloops.model.egress import EVERYBODY, Mode, Outcome, Policy, Receipt, Rule, Source
from clawloops.store import meta
from clawloops.store.db import Database, Row

_RULE = "id, user_id, host, port, allows, source, created_at"
_RECEIPT = "user_id, hour, host, port, outcome, address, connections, sent, received, first_at, last_at"
_USUAL = "egress"  # in `meta`: the policy of whoever has none of their own


def _rule(row: Row) -> Rule:
    return Rule(
        id=row["id"],
        user_id=row["user_id"] or EVERYBODY,
        host=row["host"],
        port=row["port"],
        allows=bool(row["allows"]),
        source=Source(row["source"]),
        created_at=row["created_at"],
    )


async def usual(db: Database) -> Policy:
    """The policy of whoever has none of their own."""
    mode, _, asks = (await meta.get(db, _USUAL) or "").partition(" ")
    return Policy(Mode(mode), asks == "asks") if mode else Policy()


async def set_usual(db: Database, policy: Policy) -> None:
    await meta.put(db, _USUAL, f"{policy.mode} {'asks' if policy.asks else 'refuses'}")


async def policies(db: Database) -> dict[str, Policy]:
    """By user id, of those who have one of their own."""
    rows = await db.fetch("SELECT user_id, mode, asks FROM egress_policies")
    return {row["user_id"]: Policy(Mode(row["mode"]), bool(row["asks"])) for row in rows}


async def set_policy(db: Database, user_id: str, policy: Policy | None) -> None:
    """None: the usual one."""
    if policy is None:
        await db.execute("DELETE FROM egress_policies WHERE user_id = $1", user_id)
        return
    await db.execute(
        """INSERT INTO egress_policies (user_id, mode, asks) VALUES ($1, $2, $3)
        ON CONFLICT (user_id) DO UPDATE SET mode = excluded.mode, asks = excluded.asks""",
        *(user_id, policy.mode.value, policy.asks),
    )


async def rules(db: Database, user_id: str | None = None) -> list[Rule]:
    """All of them (None), a member's own, or those of EVERYBODY; oldest first."""
    whose, args = ("", ()) if user_id is None else ("WHERE COALESCE(user_id, '') = $1", (user_id,))
    return [
        _rule(row) for row in await db.fetch(f"SELECT {_RULE} FROM egress_rules {whose} ORDER BY created_at, id", *args)
    ]


async def put_rule(db: Database, rule: Rule) -> None:
    """Add it, or turn the one of the same place into it."""
    await db.execute(
        f"""INSERT INTO egress_rules ({_RULE}) VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (COALESCE(user_id, ''), host, port)
        DO UPDATE SET allows = excluded.allows, source = excluded.source""",
        *(rule.id, rule.user_id or None, rule.host, rule.port, rule.allows, rule.source.value, rule.created_at),
    )


async def delete_rule(db: Database, rule_id: str, user_id: str) -> Rule | None:
    """The one that was there."""
    rows = await db.fetch(
        f"DELETE FROM egress_rules WHERE id = $1 AND COALESCE(user_id, '') = $2 RETURNING {_RULE}", rule_id, user_id
    )
    return _rule(rows[0]) if rows else None


async def add_receipts(db: Database, receipts: Sequence[Receipt]) -> None:
    """Add what was counted to what is written, all of it or nothing."""
    async with db.transaction():
        for each in receipts:
            await db.execute(
                f"""INSERT INTO egress_receipts ({_RECEIPT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                ON CONFLICT (user_id, hour, host, port, outcome) DO UPDATE SET
                    address = CASE WHEN excluded.address = '' THEN egress_receipts.address ELSE excluded.address END,
                    connections = egress_receipts.connections + excluded.connections,
                    sent = egress_receipts.sent + excluded.sent,
                    received = egress_receipts.received + excluded.received,
                    last_at = excluded.last_at""",
                *(each.user_id, each.hour, each.host, each.port, each.outcome.value, each.address),
                *(each.connections, each.sent, each.received, each.first_at, each.last_at),
            )


async def receipts(db: Database, user_id: str, *, limit: int, skip: int = 0) -> list[Receipt]:
    """A member's, latest hour first."""
    rows = await db.fetch(
        f"""SELECT {_RECEIPT} FROM egress_receipts WHERE user_id = $1
        ORDER BY hour DESC, last_at DESC, host, port, outcome LIMIT $2 OFFSET $3""",
        *(user_id, limit, skip),
    )
    return [Receipt(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows]


async def receipts_after(db: Database, user_id: str, after: tuple[int, str, int, str], *, limit: int) -> list[Receipt]:
    """A member's, latest hour first and by place within it, from behind an hour, host, port and outcome.

    Unlike the order of `receipts`, nothing that is counted later moves one of them.
    """
    rows = await db.fetch(
        f"""SELECT {_RECEIPT} FROM egress_receipts
        WHERE user_id = $1 AND (hour < $2 OR (hour = $2 AND (host, port, outcome) > ($3, $4, $5)))
        ORDER BY hour DESC, host, port, outcome LIMIT $6""",
        *(user_id, *after, limit),
    )
    return [Receipt(**{**row, "outcome": Outcome(row["outcome"])}) for row in rows]


async def forget_receipts(db: Database, before: int) -> int:
    """Those of hours that began before `before` (Unix ms). Returns how many."""
    return await db.execute("DELETE FROM egress_receipts WHERE hour < $1", before)

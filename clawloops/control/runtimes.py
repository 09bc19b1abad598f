"""Wishes about workspaces: written down here, made true by the orchestrator. No Docker call is made in a request."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import BadInput, Conflict, Forbidden, NotFound, Unavailable
from clawloops.model.account import Role, User
from clawloops.model.runtime import Policy, Runtime, Size, Sleep, Want
from clawloops.model.workspace import Happening, Job, JobState, Task
from clawloops.runtimes.names import canary_subnet
from clawloops.store import events, jobs, models, runtimes, users
from clawloops.store.db import Database

PREFIX = 29
PAGE = 40
"""Lines of a history that are read at a time."""

CONSOLE = User("", "", "the command line", Role.OWNER, "-", None, 0)
"""Whoever has a shell on the box. The audit names nobody."""

_SLUG_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is misread aloud
_POLICIES = {
    Policy.ALWAYS_ON: "it stays awake",
    Policy.PAUSE: "it may be paused",
    Policy.STOP: "it may be paused, then stopped",
}


class Runtimes:
    def __init__(self, db: Database, audit: Audit, *, pool: IPv4Network, wake: Callable[[str], None]) -> None:
        self._db = db
        self._audit = audit
        self._pool = pool
        self._wake = wake

    async def of_owner(self, user_id: str) -> Runtime | None:
        return await runtimes.by_owner(self._db, user_id)

    async def of_slug(self, slug: str) -> Runtime | None:
        return await runtimes.by_slug(self._db, slug)

    async def get(self, runtime_id: str, *, by: User) -> Runtime:
        """One's own workspace; an admin may see the state of everybody's. NotFound otherwise."""
        runtime = await runtimes.get(self._db, runtime_id)
        if runtime is None or (runtime.owner != by.id and not by.role.administers):
            raise NotFound("There is no such workspace. Go back to the first page.")
        return runtime

    async def all(self, *, by: User) -> list[Runtime]:
        """Everybody's, oldest first. For admins and viewers."""
        if not by.role.oversees:
            raise Forbidden("Only an admin or a viewer can see this.")
        return await runtimes.all(self._db)

    async def page(self, after: tuple[int, str], limit: int, *, by: User) -> list[Runtime]:
        """Everybody's, oldest first, from behind an instant of making and an id. For admins."""
        _administers(by)
        return await runtimes.page(self._db, after, limit)

    async def open(self, user: User) -> Runtime:
        """The member's workspace, wanted running and awake: made at the first time, found again later."""
        runtime = await self.made_for(user)
        return await self.wish(runtime.id, Want.RUNNING, by=user)

    async def made_for(self, user: User) -> Runtime:
        """The member's workspace, as it is; made, and not started, at the first time. Raises Forbidden."""
        if not user.role.works:
            raise Forbidden("A viewer has no workspace. An admin can make you a member.")
        return await self.of_owner(user.id) or await self._make(user)

    async def wish(self, runtime_id: str, want: Want, *, by: User) -> Runtime:
        """Write a wish down and wake the loop. Wishing for the same again ends its sleep and a failure's wait.

        An admin may start and stop everybody's workspace; nobody but its owner may give it up.
        """
        runtime = await self.get(runtime_id, by=by)
        if runtime.owner != by.id and want is Want.GONE:
            raise Forbidden("Only its owner can do this; an admin can stop it.")
        if want is Want.RUNNING:
            await self._allowed(runtime, by)
        told = f"Woken by {by.name}" if runtime.want is want is Want.RUNNING else _wanted(want, by)
        changed = await self._change(runtime, lambda now: _wished(now, want, told))
        if changed.version != runtime.version:
            await self._audit.record(by.id or None, f"workspace wanted {want}", runtime.slug)
            await self._note(changed, "wish", changed.sleep_why, by)
        if changed.failures or changed.failure:
            changed = await runtimes.set_failure(self._db, changed.id, 0, "", 0)
        self._wake(changed.id)
        return changed

    async def restart(self, runtime_id: str, *, by: User) -> None:
        """Stop it once its turn has ended, and start it again, with whatever settings wait for that."""
        runtime = await self.get(runtime_id, by=by)
        if runtime.want is not Want.RUNNING:
            raise Conflict("This workspace is stopped. Start it instead.")
        runtime = await self.wish(runtime_id, Want.RUNNING, by=by)
        waiting = await jobs.next_of(self._db, runtime.id)
        if waiting is None or waiting.task is not Task.RESTART:
            job = "j" + secrets.token_hex(8)
            await jobs.add(
                self._db, Job(job, runtime.id, Task.RESTART, "", JobState.PENDING, "", by.id or None, now_ms(), 0)
            )
            await self._audit.record(by.id or None, "workspace restarted", runtime.slug)
            await self._note(runtime, "wish", f"Restart asked for by {by.name}", by)
        self._wake(runtime.id)

    async def settings(
        self,
        runtime_id: str,
        *,
        by: User,
        policy: Policy | None = None,
        sleeps_despite_polling: bool | None = None,
        size: Size | None = None,
        model: str | None = None,
    ) -> Runtime:
        """Change what is given. How deep it sleeps is its owner's to say as well; how large it is, only an admin's.

        `model`: id of the one that it asks first; "": the box's default. A new size waits until the workspace is idle,
        or for a restart. Raises BadInput, Forbidden, NotFound.
        """
        runtime = await self.get(runtime_id, by=by)
        if size is not None:
            _administers(by)
        named = f"its default model is {await self._model(runtime, model)}" if model is not None else ""
        fields: dict[str, Any] = {
            "policy": policy,
            "sleeps_despite_polling": sleeps_despite_polling,
            "size": size,
            "model": model,
        }
        wanted = {
            name: value for name, value in fields.items() if value is not None and value != getattr(runtime, name)
        }
        if not wanted:
            return runtime

        def change(now: Runtime) -> Runtime:
            new = replace(now, **wanted)
            if policy is Policy.ALWAYS_ON and now.sleep is not Sleep.AWAKE:
                return replace(new, sleep=Sleep.AWAKE, sleep_why="It was set to stay awake", wake_at=0)
            return new

        runtime = await self._change(runtime, change)
        told = "; ".join(named if each is model else _told(each) for each in wanted.values())
        await self._audit.record(by.id or None, "workspace settings", runtime.slug, told)
        await self._note(runtime, "settings", f"Settings changed by {by.name}: {told}", by)
        self._wake(runtime.id)
        return runtime

    async def history(
        self, runtime_id: str, *, by: User, before: int | None = None, limit: int = PAGE
    ) -> list[Happening]:
        """What happened to it, newest first; `before`: the id of a line, for those that are older."""
        runtime = await self.get(runtime_id, by=by)
        return await events.of(self._db, runtime.id, limit=limit, before=before)

    async def stop_for(self, user_id: str) -> None:
        """Stop the runtime of a member who was disabled, or is a viewer now, in the name of the system."""
        runtime = await self.of_owner(user_id)
        if runtime is not None and runtime.want is Want.RUNNING:
            why = "Its member was shut out"
            runtime = await self._change(runtime, lambda now: _wished(now, Want.STOPPED, why))
            await self._audit.record(None, "workspace stopped", runtime.slug, "its member was shut out")
            await events.add(self._db, runtime.id, at=now_ms(), kind="wish", text=why)
            self._wake(runtime.id)

    async def _model(self, runtime: Runtime, model_id: str) -> str:
        """What a model that its member may use is called. Raises BadInput."""
        open_to = {each.id: each.name for each in await models.open_to(self._db, runtime.owner)}
        if model_id and model_id not in open_to:
            raise BadInput("Choose one of the list.", field="model")
        return open_to.get(model_id, "that of the box")

    async def _allowed(self, runtime: Runtime, by: User) -> None:
        if runtime.owner == by.id:
            return
        _administers(by)
        owner = await users.get(self._db, runtime.owner)
        if owner is None or not owner.may_work:
            raise Conflict("The member of this workspace is disabled, or a viewer now. Enable them first.")

    async def _change(self, runtime: Runtime, change: Callable[[Runtime], Runtime]) -> Runtime:
        """Write a change of the row. The loop or a second click may change it meanwhile: the later wish counts."""
        for _ in range(20):
            changed = change(runtime)
            if changed == runtime:
                return runtime
            try:
                return await runtimes.put(self._db, changed)
            except Conflict:
                runtime = await runtimes.get(self._db, runtime.id) or runtime
        raise Conflict("This workspace is being changed all the time. Try again in a moment.")

    async def _note(self, runtime: Runtime, kind: str, text: str, by: User) -> None:
        await events.add(self._db, runtime.id, at=now_ms(), kind=kind, text=text, actor=by.id or None)

    async def _make(self, user: User) -> Runtime:
        for _ in range(8):  # another request may take the same address range or slug in between
            runtime = Runtime(
                id="r" + secrets.token_hex(8),
                owner=user.id,
                slug=_slug(user.login),
                want=Want.STOPPED,
                subnet=await self._free_subnet(),
                generation=0,
                token_hash=None,
                version=1,
                failures=0,
                failure="",
                retry_at=0,
                created_at=now_ms(),
            )
            try:
                await runtimes.add(self._db, runtime)
            except Conflict:
                existing = await self.of_owner(user.id)
                if existing is not None:
                    return existing
                continue
            await self._audit.record(user.id, "workspace made", runtime.slug)
            return runtime
        raise Unavailable("No free workspace address could be reserved. Try again in a moment.")

    async def _free_subnet(self) -> str:
        taken = {canary_subnet(self._pool), *await runtimes.subnets(self._db)}
        for subnet in self._pool.subnets(new_prefix=PREFIX):
            if str(subnet) not in taken:
                return str(subnet)
        raise Unavailable(
            f"Every member network of the pool {self._pool} is in use. Set a larger CLAWLOOPS_RUNTIME_POOL in .env."
        )


def _slug(login: str) -> str:
    tail = "".join(secrets.choice(_SLUG_ALPHABET) for _ in range(6))
    return f"{re.sub(r'[^a-z0-9]+', '-', login).strip('-')[:24].strip('-') or 'w'}-{tail}"


def _wished(runtime: Runtime, want: Want, why: str) -> Runtime:
    if runtime.want is want and runtime.sleep is Sleep.AWAKE:
        return runtime
    return replace(runtime, want=want, sleep=Sleep.AWAKE, sleep_why=why, wake_at=0)


def _wanted(want: Want, by: User) -> str:
    match want:
        case Want.RUNNING:
            return f"Started by {by.name}"
        case Want.STOPPED:
            return f"Stopped by {by.name}"
        case Want.GONE:
            return f"Its container was deleted by {by.name}"


def _administers(user: User) -> None:
    if not user.role.administers:
        raise Forbidden("Only an admin can do this.")


def _told(value: Policy | Size | bool) -> str:
    match value:
        case Policy():
            return _POLICIES[value]
        case Size():
            return f"its size is {value}"
        case True:
            return "it sleeps although a channel polls"
        case False:
            return "it stays awake for a channel that polls"

"""Upgrades as an admin sees them: how far everybody is, who goes first, another try, and who stays on which image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from clawloops.control.audit import Audit
from clawloops.errors import BadInput, Conflict, Forbidden, NotFound
from clawloops.model.account import User
from clawloops.model.rollout import Rollout, RolloutState
from clawloops.model.runtime import Runtime, Want
from clawloops.model.workspace import Job, Task
from clawloops.runtimes.spec import Install, is_image_name
from clawloops.store import jobs, rollouts, runtimes
from clawloops.store.db import Database


@dataclass(frozen=True, slots=True)
class Member:
    """One member's runtime, and the image that it is on."""

    runtime: Runtime
    wanted: str  # the image that it should be on: its pin, or the install's
    job: Job | None  # its latest upgrade

    @property
    def behind(self) -> bool:
        """Whether its workspace belongs to another image than the wanted one."""
        return self.runtime.volume_at > 0 and self.runtime.image not in ("", self.wanted)


@dataclass(frozen=True, slots=True)
class Progress:
    image: str  # the install's
    rollout: Rollout | None  # None while nobody was ever moved to that image
    canary: str  # runtime id that an admin has chosen, "" when none was
    members: tuple[Member, ...]  # oldest first; those that are removed are left out

    @property
    def halted(self) -> bool:
        return self.rollout is not None and self.rollout.state is RolloutState.HALTED


class Rollouts:
    """`look` tells the loop that something was changed."""

    def __init__(self, db: Database, audit: Audit, *, install: Install, look: Callable[[], None]) -> None:
        self._db = db
        self._audit = audit
        self._install = install
        self._look = look

    async def progress(self, *, by: User, among: Sequence[Runtime] | None = None) -> Progress:
        """For admins and viewers. `among`: all workspaces, where they were read already. Raises Forbidden."""
        if not by.role.oversees:
            raise Forbidden("Only an admin or a viewer can see this.")
        latest = {each.runtime_id: each for each in await jobs.of_task(self._db, Task.UPGRADE)}
        return Progress(
            image=self._install.image,
            rollout=await rollouts.of(self._db, self._install.image),
            canary=await rollouts.chosen_canary(self._db),
            members=tuple(
                Member(each, each.pin or self._install.image, latest.get(each.id))
                for each in (await runtimes.all(self._db) if among is None else among)
                if each.want is not Want.GONE
            ),
        )

    async def choose_canary(self, runtime_id: str, *, by: User) -> None:
        """Whose workspace is tried first from now on; "" leaves it to the loop: the owner's, an admin's, the oldest."""
        _administers(by)
        slug = (await self._runtime(runtime_id)).slug if runtime_id else ""
        await rollouts.choose_canary(self._db, runtime_id)
        await self._audit.record(by.id or None, "canary chosen", slug)
        self._look()

    async def try_again(self, *, by: User) -> None:
        """Begin a rollout that has halted anew, with a canary; what went back before is tried again."""
        _administers(by)
        rollout = await rollouts.of(self._db, self._install.image)
        if rollout is None or (rollout.state is not RolloutState.HALTED and not await self._behind(by)):
            raise Conflict("There is nothing to try again: every workspace is on its image, or will be by itself.")
        note = "it is tried again"
        await rollouts.begin(self._db, replace(rollout, state=RolloutState.CANARY, note=note, ended_at=0))
        await self._audit.record(by.id or None, "upgrade tried again", self._install.image)
        self._look()

    async def pin(self, runtime_id: str, image: str, *, by: User) -> Runtime:
        """The image that a member stays on, "" for the install's. It is moved once nobody uses it; also asks again."""
        _administers(by)
        if image and not is_image_name(image):
            raise BadInput(f"{image!r} is not the name of an image.", field="pin")
        if image and not self._install.may_run(image):
            raise BadInput(
                f"{image} is of another repository than OpenClaw's image on this box. An administrator of the box can "
                "name that in CLAWLOOPS_OPENCLAW_REPOSITORIES (DATA/.env), and run ./install.sh again.",
                field="pin",
            )
        runtime = await self._runtime(runtime_id)
        while runtime.pin != image:
            try:
                runtime = await runtimes.put(self._db, replace(runtime, pin=image))
            except Conflict:  # the loop changed the row meanwhile
                runtime = await self._runtime(runtime_id)
        await rollouts.forgive(self._db, image or self._install.image, runtime_id)
        await self._audit.record(by.id or None, "image pinned" if image else "image follows the install", runtime.slug)
        self._look()
        return runtime

    async def _behind(self, by: User) -> bool:
        return any(each.behind for each in (await self.progress(by=by)).members)

    async def _runtime(self, runtime_id: str) -> Runtime:
        runtime = await runtimes.get(self._db, runtime_id)
        if runtime is None:
            raise NotFound("There is no such workspace. Reload the page.")
        return runtime


def _administers(by: User) -> None:
    if not by.role.administers:
        raise Forbidden("Only an admin can see and change upgrades.")

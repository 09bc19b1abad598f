"""Moves one runtime to another image: on a copy of its workspace, tried before it counts, and back by itself.

Each stage ends with one commit, so that whoever takes over after a crash goes on from the rows alone:

1. PENDING: nothing is held. It begins when nobody uses the runtime and the image may be used.
2. RUNNING: the runtime is down, and its workspace is copied. The commit swaps copy and image in; what was live goes to
   the trash, where it stays for a week.
3. RUNNING with `Runtime.before_image`: the image runs on the copy. It must get ready, and give one real answer.
4. RUNNING with a note that begins with GOING_BACK: once the runtime is down, the commit swaps the workspace and the
   image of before in again.

A model that does not answer is no reason to go back: the gateway has every call in its books, and when the last one of
the check failed at the model's backend, the image is kept. An answer that is missing without such a call, or although
the model gave one, is the runtime's fault.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from clawloops.clock import now_ms, steady_ms
from clawloops.errors import ClawLoopsError, EngineUnavailable
from clawloops.model.runtime import Runtime, Sleep, Want
from clawloops.model.workspace import Job, JobState
from clawloops.orchestrator.activity import Activity
from clawloops.orchestrator.ask import Completed, Control, Failed, NoModel
from clawloops.orchestrator.copies import fill
from clawloops.orchestrator.execute import Hands
from clawloops.orchestrator.hold import GOING_BACK
from clawloops.orchestrator.means import Means
from clawloops.orchestrator.run import Run
from clawloops.runtimes import names
from clawloops.runtimes.seen import Container, Image
from clawloops.store import events, volumes
from clawloops.store import jobs as job_rows
from clawloops.store import runtimes as rows

CANCELLED = "cancelled"
"""Begins the note of an upgrade that failed for no fault of the image."""
WAITS = "waits until nobody uses the workspace"
REST_S = 30.0
AGAIN_S = 2.0
SETTLE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Trial:
    """How a runtime does on the image that it is being moved to, and what else its keeper knows of it."""

    ready: bool
    failure: str  # why it ended by itself, "" when it did not
    image: str  # id of the image that its container is made of, "" when there is none
    booting_ms: int  # how long it has run without being ready
    limit_ms: int  # how long that may last
    address: str
    activity: Activity

    @classmethod
    def of(cls, means: Means, run: Run, desired: Runtime, kept: Container | None) -> Trial:
        """As its keeper sees it now; `kept` is its one container."""
        return cls(
            ready=run.ready,
            failure=desired.failure,
            image=kept.image if kept is not None else "",
            booting_ms=run.booting_ms if run.running else 0,
            limit_ms=means.trial_ms,
            address=names.addresses(desired.subnet).runtime,
            activity=means.activity,
        )


async def upgrade(hands: Hands, control: Control, job: Job, desired: Runtime, *, trial: Trial, idle: bool) -> float:
    """Do the next stage of it. Returns the seconds that the keeper rests then."""
    if job.note.startswith(GOING_BACK):
        return await _go_back(hands, job, desired)
    if desired.before_image:
        return await _try(hands, control, job, desired, trial)
    if desired.want is Want.GONE:
        return await _end(hands, job, f"{CANCELLED}: the workspace was removed meanwhile", good=False)
    if job.state is JobState.PENDING:
        stuck = not trial.ready and trial.booting_ms > trial.limit_ms  # nobody can use it as it is
        return await _begin(hands, control, job, desired, trial, idle=idle or stuck)
    return await _copy(hands, job, desired)


def refusal(name: str, image: Image | None) -> str:
    """Why an image is not used, "" when it may be."""
    if image is None:
        return f"the image {name} is not on this host; an administrator runs ./install.sh to get it"
    if image.foreign_labels:
        return (
            f"the image {name} carries labels that are ours or Traefik's ({', '.join(image.foreign_labels)}) "
            "and could route itself; an administrator takes another image, or builds it without them"
        )
    return ""


async def _begin(hands: Hands, control: Control, job: Job, desired: Runtime, trial: Trial, *, idle: bool) -> float:
    image = await hands.images.look(job.argument)
    now = await hands.images.look(hands.install.image_of(desired))
    if reason := refusal(job.argument, image):
        if trial.ready and idle:
            await control.resume(trial.address)
        return await _end(hands, job, reason, good=False)
    if not desired.volume_at or (now is not None and image is not None and now.id == image.id):
        if trial.ready and idle:
            await control.resume(trial.address)
        async with hands.db.transaction():
            await rows.put(hands.db, replace(desired, image=job.argument))
            return await _end(hands, job, f"it is on {job.argument}; there was nothing to move")
    if not idle:
        if job.note != WAITS:
            await job_rows.note(hands.db, job.id, JobState.PENDING, WAITS, now=now_ms())
        return REST_S
    await job_rows.note(hands.db, job.id, JobState.RUNNING, "the workspace is being copied", now=now_ms())
    return 0.0


async def _copy(hands: Hands, job: Job, desired: Runtime) -> float:
    """The live volume is only read: whatever breaks off here leaves it as it is; the next try takes a new number."""
    if reason := refusal(job.argument, await hands.images.look(job.argument)):
        return await _end(hands, job, reason, good=False)
    try:
        number, _ = await fill(
            hands,
            job,
            (desired.id, desired.volume),
            desired,
            note=f"since the upgrade to {job.argument}",
            image=job.argument,
            through=job.argument,
        )
    except EngineUnavailable:
        raise
    except ClawLoopsError as error:
        return await _end(hands, job, f"the workspace could not be copied: {error}", good=False)
    async with hands.db.transaction():
        row = await rows.get(hands.db, desired.id)  # a member may have changed it while it was copied
        if row is None or row.want is Want.GONE or row.volume != desired.volume:
            return 0.0
        await volumes.swap(
            hands.db,
            row,
            number,
            now=now_ms(),
            note=f"before the upgrade to {job.argument}",
            image=job.argument,
            before_image=hands.install.image_of(row),
            before_volume=row.volume,
            **_FRESH,
        )
        await job_rows.note(hands.db, job.id, JobState.RUNNING, f"{job.argument} is on trial", now=now_ms())
    return 0.0


_FRESH = {"failures": 0, "failure": "", "retry_at": 0}


async def _try(hands: Hands, control: Control, job: Job, desired: Runtime, trial: Trial) -> float:
    image = await hands.images.look(desired.image)
    if desired.want is Want.GONE:
        return await _turn_back(hands, job, f"{CANCELLED}: the workspace was removed meanwhile")
    if image is None:
        return await _turn_back(hands, job, f"the image {desired.image} was removed from this host")
    if trial.failure:
        return await _turn_back(hands, job, trial.failure)
    if not trial.ready or trial.image != image.id:
        left = trial.limit_ms - trial.booting_ms
        if left < 0:
            return await _turn_back(hands, job, f"OpenClaw was not ready after {trial.limit_ms // 1000} seconds")
        return min(REST_S, left / 1000 + 0.1)
    began = steady_ms()
    with trial.activity.tending(desired.id):
        answer = await _answer(control, trial.address)
    match answer:
        case Completed(took_ms):
            proof = f"the first answer came after {took_ms / 1000:.1f} seconds"
        case NoModel():
            proof = "no model is set up, so no answer was tried"
        case Failed(reason) if trial.activity.model_to_blame(desired.id, since=began):
            proof = f"no answer proved it, because the model itself failed ({reason})"
        case Failed(reason):
            return await _turn_back(hands, job, f"it gave no answer: {reason}")
    async with hands.db.transaction():
        row = await rows.get(hands.db, desired.id)
        if row is not None:
            # A paused one stays up until the usual rules pause it again: what it does since its boot is not cut.
            sleep = Sleep.AWAKE if row.sleep is Sleep.PAUSED else row.sleep
            await rows.put(hands.db, replace(row, before_image="", before_volume=0, sleep=sleep))
        return await _end(hands, job, f"upgraded to {job.argument}; {proof}", since=desired.volume_at)


async def _answer(control: Control, address: str) -> Completed | NoModel | Failed:
    """One real completion. OpenClaw says that it is ready a moment before all of it answers, more so on a busy box."""
    until = steady_ms() + SETTLE_MS
    while True:
        answer = await control.complete(address)
        if not isinstance(answer, Failed) or answer.asked or steady_ms() > until:
            return answer
        await asyncio.sleep(AGAIN_S)


async def _turn_back(hands: Hands, job: Job, reason: str) -> float:
    await job_rows.note(hands.db, job.id, JobState.RUNNING, GOING_BACK + reason, now=now_ms())
    return 0.0


async def _go_back(hands: Hands, job: Job, desired: Runtime) -> float:
    reason = job.note.removeprefix(GOING_BACK)
    async with hands.db.transaction():
        if desired.before_image:
            await volumes.swap(
                hands.db,
                desired,
                desired.before_volume,
                now=now_ms(),
                note=f"from the failed upgrade to {job.argument}",
                image=desired.before_image,
                before_image="",
                before_volume=0,
                sleep=Sleep.STOPPED if desired.sleep is Sleep.PAUSED else desired.sleep,  # nothing is left to unpause
                **_FRESH,
            )
        kept = reason if reason.startswith(CANCELLED) else f"{reason}; it went back to {desired.before_image}"
        return await _end(hands, job, kept, good=False, since=desired.volume_at)


async def _end(hands: Hands, job: Job, text: str, *, good: bool = True, since: int = 0) -> float:
    """`since`: Unix ms at which the trial began, 0 when there was none."""
    now = now_ms()
    await job_rows.note(hands.db, job.id, JobState.DONE if good else JobState.FAILED, text, now=now)
    took = max(0, now - since) if since else None
    await events.add(
        hands.db, job.runtime_id, at=now, kind="upgrade", text=text, took_ms=took, actor=job.actor
    )  # fmt: skip
    return 0.0

"""Who is moved to another image next: a canary first, one at a time, and to an end, whatever becomes of each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from clawloops.model.rollout import Rollout, RolloutState
from clawloops.model.runtime import Runtime, Want
from clawloops.model.workspace import Job, JobState, Task
from clawloops.orchestrator.rollout import PATIENCE_MS, Begin, Rename, Seen, Step, Tell, Upgrade, Withdraw, next_step
from clawloops.orchestrator.upgrade import CANCELLED
from clawloops.store.rollouts import FORGIVEN

NOW = 1_800_000_000_000
IDS = {"old": "sha256:a", "new": "sha256:b", "new-again": "sha256:b", "pinned": "sha256:c"}


def member(number: int, **changes: object) -> Runtime:
    row = Runtime(
        f"r{number}", f"u{number}", f"slug{number}", Want.RUNNING, "10.0.0.0/29", 1, b"h" * 32, 1, 0, "", 0, number
    )
    return replace(row, **{"image": "old", "volume_at": 1, **changes})  # type: ignore[arg-type]


def job(number: int, state: JobState = JobState.PENDING, note: str = "", image: str = "new", at: int = NOW) -> Job:
    return Job(f"j{number}{at}", f"r{number}", Task.UPGRADE, image, state, note, None, at, 0)


def rollout(state: RolloutState = RolloutState.CANARY, canary: str = "r1", note: str = "") -> Rollout:
    return Rollout("new", canary, state, note, NOW, 0)


def step(
    *rows: Runtime, jobs: tuple[Job, ...] = (), at: Rollout | None = None, now: int = NOW, **more: object
) -> object:
    return next_step(Seen("new", rows, jobs, at, **{"ids": IDS, **more}), now=now)  # type: ignore[arg-type]


def test_nobody_is_moved_who_is_on_the_image() -> None:
    assert step(member(1, image="new"), member(2, want=Want.GONE), member(3, image=""), member(4, volume_at=0)) is None
    assert step(member(1, want=Want.GONE), member(2, before_image="old")) is None


def test_the_same_image_under_another_name_is_only_noted() -> None:
    assert step(member(1), member(2, image="new-again")) == Rename("r2", "new")
    assert step(member(1, pin="new-again", image="new"), at=rollout(RolloutState.HALTED)) == Rename("r1", "new-again")


def test_the_canary_is_the_chosen_one_else_an_admins_else_the_oldest() -> None:
    rows = (member(1), member(2), member(3))
    for more, canary in (
        ({}, "r1"),
        ({"usual": ("r9", "r3")}, "r3"),
        ({"usual": ("r3",), "chosen": "r2"}, "r2"),
        ({"chosen": "gone"}, "r1"),
    ):
        begun = step(*rows, **more)
        assert isinstance(begun, Begin)
        assert (begun.rollout.canary, begun.rollout.state) == (canary, RolloutState.CANARY)
    assert step(*rows, at=rollout()) == Upgrade("r1", "new")
    told = step(*rows, at=rollout(), chosen="r2")
    assert isinstance(told, Tell) and told.rollout.canary == "r2"
    assert step(*rows, at=rollout(), jobs=(job(1),), chosen="r2") == Withdraw(job(1).id)
    assert step(*rows, at=rollout(), jobs=(job(1),), chosen="gone") is None
    assert step(*rows, at=rollout(), jobs=(job(1, JobState.RUNNING),), chosen="r2") is None, "it has begun"


def test_a_canary_that_went_back_halts_it_and_nothing_goes_on_by_itself() -> None:
    rows = (member(1), member(2))
    failed = job(1, JobState.FAILED, "it ended with exit code 1")
    told = step(*rows, at=rollout(), jobs=(failed,))
    assert isinstance(told, Tell)
    assert told.rollout.state is RolloutState.HALTED
    assert "slug1" in told.rollout.note and "exit code 1" in told.rollout.note
    assert told.rollout.ended_at == NOW
    assert step(*rows, at=told.rollout, jobs=(failed,)) is None
    forgiven = replace(failed, note=FORGIVEN + failed.note)
    assert step(*rows, at=rollout(), jobs=(forgiven,)) == Upgrade("r1", "new")


def test_an_image_that_failed_once_is_tried_anew_when_it_is_wanted_after_another() -> None:
    failed = job(1, JobState.FAILED, "it ended with exit code 1")
    assert isinstance(step(member(1), jobs=(failed,)), Begin)


def test_the_others_follow_one_at_a_time_and_one_failure_is_only_noted() -> None:
    rows = [member(1, image="new"), member(2), member(3), member(4)]
    told = step(*rows, at=rollout())
    assert isinstance(told, Tell)
    assert (told.rollout.state, told.rollout.note) == (RolloutState.REST, "1 of 4")
    assert step(*rows, at=told.rollout) == Upgrade("r2", "new")
    assert step(*rows, at=told.rollout, jobs=(job(2, JobState.RUNNING),)) is None
    failed = job(2, JobState.FAILED, "exit code 1")
    noted = step(*rows, at=told.rollout, jobs=(failed,))
    assert isinstance(noted, Tell) and "slug2 went back: exit code 1" in noted.rollout.note
    assert step(*rows, at=noted.rollout, jobs=(failed,)) == Upgrade("r3", "new")
    second = job(3, JobState.FAILED, "exit code 2")
    halted = step(*rows, at=noted.rollout, jobs=(failed, second))
    assert isinstance(halted, Tell) and halted.rollout.state is RolloutState.HALTED
    done = step(*[replace(each, image="new") for each in rows], at=noted.rollout)
    assert isinstance(done, Tell) and (done.rollout.state, done.rollout.note) == (RolloutState.DONE, "4 of 4")


def test_somebody_who_comes_back_after_the_end_is_moved_then() -> None:
    gone, on = member(2, want=Want.GONE), member(1, image="new")
    done = rollout(RolloutState.DONE, note="1 of 1")
    assert step(on, gone, at=done) is None
    back = step(on, replace(gone, want=Want.RUNNING), at=done)
    assert isinstance(back, Tell) and back.rollout.state is RolloutState.REST
    assert step(on, replace(gone, want=Want.RUNNING), at=back.rollout) == Upgrade("r2", "new")


def test_one_in_use_lets_another_go_first_but_the_canary_never_does() -> None:
    rows, later = (member(1), member(2)), NOW + PATIENCE_MS + 1
    waits = job(1)
    assert step(*rows, at=rollout(), jobs=(waits,), now=later) is None
    rest = rollout(RolloutState.REST, note="0 of 2")
    assert step(*rows, at=rest, jobs=(waits,)) is None
    assert step(*rows, at=rest, jobs=(waits,), now=later) == Withdraw(waits.id)
    assert step(rows[0], at=rest, jobs=(waits,), now=later) is None, "there is nobody else to go first"
    assert step(*rows, at=rest, jobs=(replace(waits, state=JobState.RUNNING),), now=later) is None
    withdrawn = replace(waits, state=JobState.FAILED, note=CANCELLED)
    assert step(*rows, at=rest, jobs=(withdrawn,), now=later) == Upgrade("r2", "new")
    assert step(rows[0], replace(rows[1], image="new"), at=replace(rest, note="1 of 2"), jobs=(withdrawn,)) == Upgrade(
        "r1", "new"
    )


def test_a_pin_is_no_part_of_the_rollout_and_waits_for_no_canary() -> None:
    pinned = member(1, pin="pinned")
    assert step(pinned, member(2), at=rollout(canary="r2")) == Upgrade("r1", "pinned")
    assert step(replace(pinned, image="pinned"), member(2), at=rollout(RolloutState.HALTED, canary="r2")) is None
    assert step(pinned, at=rollout(RolloutState.HALTED)) == Upgrade("r1", "pinned")
    assert step(member(1, pin="missing")) == Upgrade("r1", "missing"), "its failure tells the admin"
    assert step(pinned, jobs=(job(1, JobState.FAILED, "no", image="pinned"),)) is None
    stale = job(1)
    assert step(pinned, jobs=(stale,), at=rollout()) == Withdraw(stale.id)


def test_a_pinned_one_that_is_always_in_use_keeps_nobody_waiting() -> None:
    pinned, other, later = member(1, pin="pinned"), member(2), NOW + PATIENCE_MS + 1
    waits = job(1, image="pinned")
    assert isinstance(step(pinned, other), Begin)
    for at in (rollout(canary="r2"), rollout(RolloutState.REST, note="0 of 1")):
        assert step(pinned, other, at=at, jobs=(waits,), now=later) == Withdraw(waits.id)
        withdrawn = replace(waits, state=JobState.FAILED, note=CANCELLED)
        assert step(pinned, other, at=at, jobs=(withdrawn,), now=later) == Upgrade("r2", "new")
    assert step(pinned, replace(other, image="new"), jobs=(withdrawn,), now=later) == Upgrade("r1", "pinned")


def test_without_its_old_image_nobody_can_start_so_it_is_moved_at_once() -> None:
    stranded = member(2, image="pruned")
    assert step(member(1), stranded, at=rollout()) == Upgrade("r2", "new")
    assert step(member(1), stranded, at=rollout(RolloutState.HALTED)) == Upgrade("r2", "new")
    failed = job(2, JobState.FAILED, "exit code 1")
    assert step(member(1), stranded, at=rollout(RolloutState.HALTED), jobs=(failed,)) is None


def test_one_that_waits_for_an_admin_holds_up_nobody() -> None:
    rows = (member(1, image="new", before_image="old"), member(2), member(3))
    on_trial = job(1, JobState.RUNNING, "new is on trial")
    held = frozenset({"r1"})
    moving = step(*rows, jobs=(on_trial,), at=rollout(RolloutState.REST, "r9", "1 of 3"), held=held)
    assert isinstance(moving, Upgrade) and moving.runtime_id == "r2"
    assert step(*rows, jobs=(job(1),), at=rollout(RolloutState.REST, "r9", "1 of 3"), held=held) == Withdraw(job(1).id)
    told = step(rows[0], jobs=(on_trial,), at=rollout(), held=held)
    assert isinstance(told, Tell) and told.rollout.state is RolloutState.CANARY, "a trial is not yet passed"


def test_an_image_that_is_not_here_yet_is_waited_for() -> None:
    assert step(member(1), ids={"old": "sha256:a"}) is None


@dataclass
class Install:
    """A model of an install: what `next_step` says is done, and each upgrade ends as fate will have it."""

    rows: dict[str, Runtime]
    fates: dict[str, list[str]]  # kept, back, busy, removed: of each try; then kept
    usual: tuple[str, ...]
    rollout: Rollout | None = None
    jobs: list[Job] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    now: int = NOW

    def next(self) -> Step | None:
        rows = sorted(self.rows.values(), key=lambda each: each.created_at)
        return next_step(Seen("new", rows, self.jobs, self.rollout, IDS, usual=self.usual), now=self.now)

    def do(self, each: Step) -> None:
        self.now += 1
        match each:
            case Begin(begun):
                for old in [one for one in self.jobs if one.state is JobState.FAILED and one.argument == "new"]:
                    self.end(old.id, JobState.FAILED, FORGIVEN + old.note)
                self.rollout = begun
            case Tell(begun):
                assert begun != self.rollout, "it says what is written down already, for ever"
                self.rollout = begun
            case Upgrade(runtime_id, image):
                assert not [one for one in self.jobs if one.state in (JobState.PENDING, JobState.RUNNING)], (
                    "two at once"
                )
                row = self.rows[runtime_id]
                if not row.pin and row.image in IDS:
                    assert self.rollout is not None
                    assert self.rollout.state is not RolloutState.HALTED
                    if self.rollout.state is RolloutState.CANARY:
                        assert runtime_id == self.rollout.canary
                    else:
                        assert self.rollout.canary in self.moved, "somebody was moved before the canary"
                self.jobs.append(
                    Job(f"j{self.now}", runtime_id, Task.UPGRADE, image, JobState.PENDING, "", None, self.now, 0)
                )
            case Rename(runtime_id, image):
                self.rows[runtime_id] = replace(self.rows[runtime_id], image=image)
            case Withdraw(job_id):
                self.end(job_id, JobState.FAILED, CANCELLED)

    def end(self, job_id: str, state: JobState, note: str) -> None:
        self.jobs = [replace(each, state=state, note=note) if each.id == job_id else each for each in self.jobs]

    def pass_time(self) -> bool:
        """Let the upgrade under way come to its fate; False when there is none."""
        waiting = [each for each in self.jobs if each.state is JobState.PENDING]
        if not waiting:
            return False
        one = waiting[0]
        fate = self.fates[one.runtime_id].pop(0) if self.fates[one.runtime_id] else "kept"
        match fate:
            case "busy":
                self.now += PATIENCE_MS
            case "back":
                self.end(one.id, JobState.FAILED, "exit code 1")
            case "removed":
                self.rows[one.runtime_id] = replace(self.rows[one.runtime_id], want=Want.GONE)
                self.end(one.id, JobState.FAILED, CANCELLED)
            case _:
                self.moved.append(one.runtime_id)
                self.rows[one.runtime_id] = replace(self.rows[one.runtime_id], image=one.argument)
                self.end(one.id, JobState.DONE, "")
        return True

    def come_back(self) -> bool:
        """One who had removed the workspace wants it again; False when there is nobody."""
        gone = next((each for each in self.rows.values() if each.want is Want.GONE), None)
        if gone is not None:
            self.rows[gone.id] = replace(gone, want=Want.RUNNING)
        return gone is not None


@st.composite
def installs(draw: st.DrawFn) -> Install:
    rows = {}
    for number in range(draw(st.integers(0, 6))):
        changes = {
            "image": draw(st.sampled_from(["old", "old", "old", "new", "new-again", "", "pruned"])),
            "pin": draw(st.sampled_from(["", "", "", "pinned"])),
            "want": draw(st.sampled_from([Want.RUNNING, Want.STOPPED, Want.GONE])),
            "volume_at": draw(st.sampled_from([0, 1, 1])),
        }
        rows[f"r{number}"] = member(number, **changes)
    fates = {each: draw(st.lists(st.sampled_from(["kept", "back", "busy", "removed"]), max_size=4)) for each in rows}
    return Install(rows, fates, tuple(draw(st.permutations(sorted(rows)))[:2]))


@settings(max_examples=400, deadline=None)
@given(installs())
def test_a_rollout_comes_to_an_end_with_everybody_moved_or_a_reason(install: Install) -> None:
    for _ in range(300):
        if (each := install.next()) is not None:
            install.do(each)
        elif not install.pass_time() and not install.come_back():
            break
    else:
        raise AssertionError("it goes on for ever")
    back = {each.runtime_id for each in install.jobs if each.state is JobState.FAILED and each.note != CANCELLED}
    halted = install.rollout is not None and install.rollout.state is RolloutState.HALTED
    for row in install.rows.values():
        wanted = row.pin or "new"
        assert row.id in back or halted or not row.volume_at or row.image in ("", wanted)
    assert back or not halted
    if install.moved and not halted and install.rollout is not None:
        assert install.rollout.state is RolloutState.DONE

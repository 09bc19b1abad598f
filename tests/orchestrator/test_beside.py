"""Copies that are made beside the keeper: one at a time, and each once, whatever the keeper still believes."""

from __future__ import annotations

import asyncio

import pytest

from clawloops.model.workspace import Hold, Task
from clawloops.orchestrator.beside import Beside
from clawloops.orchestrator.execute import Hands
from clawloops.runtimes.images import Images
from clawloops.runtimes.sandboxes import Sandboxes
from clawloops.store import jobs as job_rows
from clawloops.store import volumes as rows
from tests.orchestrator.test_jobs import ask, done, ended, running
from tests.standin.parts import DECOYS, SEALER
from tests.standin.place import Place


@pytest.mark.docker
async def test_a_keeper_that_read_the_job_before_it_ended_begins_it_no_second_time(place: Place) -> None:
    ada, ben = await running(place), await running(place)
    await done(place, ada, Task.SNAPSHOT)
    job = await ask(place, ben, Task.CLONE, f"{ada.id} 1")
    before = await ended(place, job)
    volumes = await rows.of(place.db, ben.id)
    woken = asyncio.Event()
    images, sandboxes = Images(place.engine), Sandboxes(place.engine)
    hands = Hands(place.db, place.engine, place.tokens, place.install, images, DECOYS, sandboxes, SEALER)
    beside = Beside(hands, woken.set)
    assert beside.takes(job, Hold.NONE, ben), "as it was when it was asked for"
    await asyncio.wait_for(woken.wait(), 10)
    await beside.end()
    assert await job_rows.get(place.db, job.id) == before
    assert await rows.of(place.db, ben.id) == volumes

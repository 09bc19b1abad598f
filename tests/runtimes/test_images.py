"""The runtime image: is it there, what is it, may it be used; asked once for all who look at the same time."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from clawloops.errors import EngineUnavailable
from clawloops.runtimes import images
from clawloops.runtimes.client import Engine
from clawloops.runtimes.images import Images
from clawloops.runtimes.seen import Image
from tests.standin.place import Place

pytestmark = pytest.mark.docker


async def test_an_image_that_would_route_itself_or_pass_for_ours_is_told(place: Place) -> None:
    tag = f"clawloops/test-{place.install_id}"

    def build() -> str:
        recipe = f"FROM {place.image}\nLABEL traefik.enable=true Clawloops.runtime=r1 org.example.a=b\n"
        made, _ = place.docker.images.build(fileobj=io.BytesIO(recipe.encode()), tag=tag, rm=True)
        return str(made.id)

    made = await asyncio.to_thread(build)
    try:
        seen = await images.look(place.engine, tag)
        assert seen is not None
        assert (seen.id, seen.foreign_labels) == (made, ("Clawloops.runtime", "traefik.enable"))
    finally:
        await asyncio.to_thread(place.docker.images.remove, tag)
    assert await images.look(place.engine, tag) is None
    usual = await images.look(place.engine, place.image)
    assert usual is not None
    assert usual.foreign_labels == ()


async def test_many_who_look_at_once_cost_one_call(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    look = images.look

    async def noted(engine: Engine, image: str) -> Image | None:
        asked.append(image)
        return await look(engine, image)

    monkeypatch.setattr(images, "look", noted)
    shared = Images(place.engine)
    answers = await asyncio.gather(*(shared.look(place.image) for _ in range(20)), shared.look("no-such-image"))
    assert len({answer.id for answer in answers if answer}) == 1
    assert answers[-1] is None
    assert asked == [place.image, "no-such-image"]
    again = Images(place.engine, fresh_s=0.0)
    await again.look(place.image)
    await again.look(place.image)
    assert asked[2:] == [place.image, place.image]


async def test_whoever_gives_up_takes_the_answer_from_nobody_else(place: Place) -> None:
    shared = Images(place.engine)
    first = asyncio.create_task(shared.look(place.image))
    await asyncio.sleep(0)
    second = asyncio.create_task(shared.look(place.image))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None


async def test_a_failure_is_not_kept(place: Place, tmp_path: Path) -> None:
    engine = Engine(f"unix://{tmp_path}/engine.sock")
    shared = Images(engine)
    with pytest.raises(EngineUnavailable):
        await shared.look(place.image)
    (tmp_path / "engine.sock").symlink_to(place.url.removeprefix("unix://"))
    assert await shared.look(place.image) is not None
    engine.close()

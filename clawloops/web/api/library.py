"""The models on an Ollama's own disk: pulled, loaded, offered, removed. A pull goes on by itself, and is read again."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from clawloops.control.library import CONTEXTS
from clawloops.control.library import Shelf as Kept
from clawloops.control.pulls import Progress
from clawloops.control.stock import CONTEXT, Entry
from clawloops.errors import NotFound
from clawloops.model.library import PullState
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Listed, Paged, page_of
from clawloops.web.api.shapes import Given, Id, Instant, ModelName, Shown, at, at_or_none
from clawloops.web.context import LIBRARY


class Library(Shown, frozen=True):
    backend_id: str
    capacity_bytes: int | None
    """Of its GPU, as an admin has said, or of this box's memory; null where nobody knows."""
    is_own_memory: bool
    trouble: str
    """Why it could not be asked, or empty."""


class Loaded(Shown, frozen=True):
    bytes: int
    gpu_bytes: int
    """Of these."""
    context: int


class StoredModel(Shown, frozen=True):
    name: str
    bytes: int
    parameters: str
    quantization: str
    context: int
    """Tokens that it takes from its next load on."""
    most_context: int | None
    """Tokens that it was made for."""
    loaded: Loaded | None
    fits: bool | None
    """Whether it runs on the GPU whole; null where its capacity is not known."""
    fit: str
    served: list[str]
    """The public names that lead to it."""
    used_by: list[str]
    """Ids of the members whose calls it answers now."""
    note: str
    """What came of its latest load, where there is something to say."""


class Pull(Shown, frozen=True):
    id: str
    model: str
    is_offered: bool
    """Whether it gets a public name once it is there."""
    state: PullState
    step: str
    """What Ollama does now, in its words."""
    completed_bytes: int
    total_bytes: int
    """Of what Ollama has begun with: it may become more."""
    note: str
    """Why it failed, or what is to be known of it."""
    begun_at: Instant
    ended_at: Instant | None


class Estimate(Shown, frozen=True):
    model: str
    bytes: int
    fits: bool | None
    text: str


class NewPull(Given, frozen=True):
    model: ModelName
    is_offered: bool = False


class Chosen(Given, frozen=True):
    model: ModelName


class NewContext(Given, frozen=True):
    model: ModelName
    context: Annotated[int, Meta(ge=CONTEXTS.start, lt=CONTEXTS.stop)]


class Offered(Shown, frozen=True):
    name: str
    """Under which members see it."""


async def show(call: Call, id: Id) -> Library:
    """404 for a backend that is no Ollama."""
    shelf = await call.app[LIBRARY].shelf(id, by=call.user)
    return Library(
        backend_id=id,
        capacity_bytes=shelf.capacity or None,
        is_own_memory=shelf.is_own_memory,
        trouble=shelf.trouble,
    )


async def list_models(call: Call, id: Id, query: Paged) -> Listed[StoredModel]:
    """By name; none where it does not answer."""
    shelf = await call.app[LIBRARY].shelf(id, by=call.user)
    return page_of(shelf.entries, query, key=lambda each: (0, each.pulled.name), show=lambda each: _stored(shelf, each))


async def list_pulls(call: Call, id: Id, query: Paged) -> Listed[Pull]:
    """Newest first."""
    found = await call.app[LIBRARY].pulls_of(id, by=call.user)
    return page_of(found, query, key=lambda each: (-each.pull.created_at, each.pull.id), show=_pull)


async def show_pull(call: Call, id: Id, pull: Id) -> Pull:
    return _pull(await _chosen(call, id, pull))


async def pull(call: Call, id: Id, body: NewPull) -> Pull:
    """It goes on over a restart of the box. Read it again for how far it is."""
    made = await call.app[LIBRARY].pull(id, body.model, is_offered=body.is_offered, by=call.user)
    return await show_pull(call, id, made.id)


async def cancel(call: Call, id: Id, pull: Id) -> Pull:
    """What has come stays with Ollama, and another pull goes on from there."""
    await _chosen(call, id, pull)
    await call.app[LIBRARY].cancel(pull, by=call.user)
    return await show_pull(call, id, pull)


async def estimate(call: Call, id: Id, query: Chosen) -> Estimate:
    """Whether a model that is not there yet would fit: its registry is asked for its size."""
    found = await call.app[LIBRARY].would_fit(id, query.model, by=call.user)
    return Estimate(model=found.model, bytes=found.bytes, fits=found.fits, text=found.text)


async def load(call: Call, id: Id, body: Chosen) -> StoredModel:
    """Into memory. `loaded` or `note` says what came of it: a large one takes a while."""
    await call.app[LIBRARY].load(id, body.model, by=call.user)
    return await _model(call, id, body.model)


async def unload(call: Call, id: Id, body: Chosen) -> StoredModel:
    """Out of memory, once its calls are through."""
    await call.app[LIBRARY].unload(id, body.model, by=call.user)
    return await _model(call, id, body.model)


async def offer(call: Call, id: Id, body: Chosen) -> Offered:
    """To members, under its own name."""
    return Offered(name=await call.app[LIBRARY].offer(id, body.model, by=call.user))


async def set_context(call: Call, id: Id, body: NewContext) -> StoredModel:
    """From its next load on; names that lead to it follow."""
    await call.app[LIBRARY].set_context(id, body.model, body.context, by=call.user)
    return await _model(call, id, body.model)


async def remove(call: Call, id: Id, query: Chosen) -> None:
    """From its disk, while no name leads to it."""
    await call.app[LIBRARY].remove(id, query.model, by=call.user)


async def _chosen(call: Call, backend_id: str, pull_id: str) -> Progress:
    found = await call.app[LIBRARY].pulls_of(backend_id, by=call.user)
    progress = next((each for each in found if each.pull.id == pull_id), None)
    if progress is None:
        raise NotFound("There is no such pull.")
    return progress


async def _model(call: Call, backend_id: str, name: str) -> StoredModel:
    shelf = await call.app[LIBRARY].shelf(backend_id, by=call.user)
    entry = next((each for each in shelf.entries if each.pulled.name == name), None)
    if entry is None:
        raise NotFound("There is no such model on its disk. The list has each by its whole name.")
    return _stored(shelf, entry)


def _stored(shelf: Kept, entry: Entry) -> StoredModel:
    pulled, loaded = entry.pulled, entry.loaded
    return StoredModel(
        name=pulled.name,
        bytes=pulled.bytes,
        parameters=pulled.parameters,
        quantization=pulled.quantization,
        context=entry.shape.context or CONTEXT,
        most_context=entry.shape.most_context or None,
        loaded=Loaded(bytes=loaded.bytes, gpu_bytes=loaded.gpu_bytes, context=loaded.context) if loaded else None,
        fits=entry.fit.fits if entry.fit.is_known else None,
        fit=entry.fit.text,
        served=list(entry.names),
        used_by=list(entry.users),
        note=shelf.notes.get(pulled.name, ""),
    )


def _pull(progress: Progress) -> Pull:
    kept = progress.pull
    return Pull(
        id=kept.id,
        model=kept.model,
        is_offered=kept.is_offered,
        state=kept.state,
        step=progress.what,
        completed_bytes=progress.completed,
        total_bytes=progress.total,
        note=kept.note,
        begun_at=at(kept.created_at),
        ended_at=at_or_none(kept.ended_at),
    )

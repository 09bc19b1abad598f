"""Public names of models: where each leads, whom it is open to, what it costs there."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from msgspec import Meta

from clawloops.control.connecting import MAX_TOKENS
from clawloops.control.models import MOST_PLACES
from clawloops.control.prices import MOST
from clawloops.errors import BadInput
from clawloops.model.provider import Grants
from clawloops.model.provider import Model as KeptModel
from clawloops.model.provider import Place as KeptPlace
from clawloops.model.usage import Price as KeptPrice
from clawloops.web.api.operation import Call, fields_named
from clawloops.web.api.paging import Listed, Paged, page_of
from clawloops.web.api.shapes import Given, Id, Instant, ModelName, Shown, at
from clawloops.web.context import MODELS, TRIALS

MicroUsd = Annotated[int, Meta(ge=0, le=MOST, description="Of a million tokens, in µUSD: at 3 dollars 3000000.")]


class Where(Given, frozen=True):
    """A backend, and its own name for the model."""

    backend_id: Id
    upstream: ModelName


class Price(Given, frozen=True):
    input: MicroUsd
    output: MicroUsd
    cached: MicroUsd
    """Of input that the provider had in its cache."""


class Served(Shown, frozen=True):
    backend_id: str
    upstream: str
    price: Price
    is_own_price: bool
    """Whether an admin has set it; otherwise it follows LiteLLM's table."""


class Model(Shown, frozen=True):
    id: str
    name: str
    places: list[Served]
    """Asked in this order."""
    context_window: int
    max_tokens: int
    is_default: bool
    is_open: bool
    """To everybody; otherwise to these members and groups."""
    members: list[str]
    groups: list[str]
    made_at: Instant


class NewModel(Given, frozen=True):
    name: ModelName
    places: Annotated[tuple[Where, ...], Meta(min_length=1, max_length=MOST_PLACES)]
    context_window: Annotated[int, Meta(ge=1024, le=10_000_000)]
    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = MAX_TOKENS


class ModelWanted(NewModel, frozen=True):
    is_open: bool = True
    members: Annotated[tuple[Id, ...], Meta(max_length=1000)] = ()
    groups: Annotated[tuple[Id, ...], Meta(max_length=100)] = ()


class Tried(Shown, frozen=True):
    model: str
    is_answered: bool
    answer: str
    """May be empty: some models spend all that they are given on thinking."""
    why: str
    """It has not answered."""
    input: int
    """Tokens, as the backend counts them."""
    output: int
    took_ms: int


class NewPrice(Given, frozen=True):
    place: Where
    price: Price | None
    """null: as in LiteLLM's table again."""


async def list_all(call: Call, query: Paged) -> Listed[Model]:
    """Oldest first."""
    grants = await call.app[MODELS].grants()
    return page_of(
        call.app[MODELS].names(),
        query,
        key=lambda each: (each.created_at, each.id),
        show=lambda each: _model(call, each, grants.get(each.id, Grants())),
    )


async def show(call: Call, id: Id) -> Model:
    model = call.app[MODELS].get(id)
    return _model(call, model, (await call.app[MODELS].grants()).get(id, Grants()))


async def publish(call: Call, body: NewModel) -> Model:
    """Open to everybody at first. The first name of all is the default."""
    made = await call.app[MODELS].publish(
        body.name,
        _places(body),
        context_window=body.context_window,
        max_tokens=body.max_tokens,
        by=call.user,
    )
    return await show(call, made.id)


async def change(call: Call, id: Id, body: ModelWanted) -> Model:
    """It is what is sent, whole. A name that a budget counts cannot be changed."""
    wanted = replace(
        call.app[MODELS].get(id),
        name=body.name.strip(),
        places=tuple(_places(body)),
        context_window=body.context_window,
        max_tokens=body.max_tokens,
        is_open=body.is_open,
    )
    grants = Grants(frozenset(body.members), frozenset(body.groups))
    await call.app[MODELS].change(wanted, grants, by=call.user)
    return await show(call, id)


async def remove(call: Call, id: Id) -> None:
    """Where it led to stays."""
    await call.app[MODELS].remove(id, by=call.user)


async def set_default(call: Call, id: Id) -> Model:
    """New chats start with it, in every workspace."""
    await call.app[MODELS].set_default(call.app[MODELS].get(id).id, by=call.user)
    return await show(call, id)


async def try_(call: Call, id: Id) -> Tried:
    """Through the gateway, and counted as a call of yours: it may cost what such a call costs, and take minutes."""
    trial = await call.app[TRIALS].ask(id, by=call.user)
    return Tried(
        model=trial.model,
        is_answered=trial.is_answered,
        answer=trial.answer,
        why=trial.why,
        input=trial.tokens.input,
        output=trial.tokens.output,
        took_ms=trial.took_ms,
    )


async def set_price(call: Call, id: Id, body: NewPrice) -> Model:
    """What it costs at one of its places."""
    place, price = KeptPlace(body.place.backend_id, body.place.upstream), body.price
    if place not in call.app[MODELS].get(id).places:
        raise BadInput("This name does not lead there.", field="place")
    own = KeptPrice(price.input, price.output, price.cached) if price is not None else None
    with fields_named(input="price/input", output="price/output", cached="price/cached"):
        await call.app[MODELS].set_price(place, own, by=call.user)
    return await show(call, id)


def _places(body: NewModel) -> list[KeptPlace]:
    return [KeptPlace(each.backend_id, each.upstream.strip()) for each in body.places]


def _model(call: Call, model: KeptModel, granted: Grants) -> Model:
    return Model(
        id=model.id,
        name=model.name,
        places=[
            Served(
                backend_id=backend.id,
                upstream=upstream,
                price=Price(input=kept.price.input, output=kept.price.output, cached=kept.price.cached),
                is_own_price=kept.is_own,
            )
            for backend, upstream, kept in call.app[MODELS].prices_of(model)
        ],
        context_window=model.context_window,
        max_tokens=model.max_tokens,
        is_default=model.is_default,
        is_open=model.is_open,
        members=sorted(granted.users),
        groups=sorted(granted.groups),
        made_at=at(model.created_at),
    )

"""One public name: the places it leads to in order, whom it is open to, its size."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web
from multidict import MultiDict

from clawloops.control.connecting import MAX_TOKENS, WINDOW
from clawloops.control.models import MOST_PLACES
from clawloops.errors import NotFound
from clawloops.model.provider import Grants, Place
from clawloops.model.usage import Price
from clawloops.web.context import ACCOUNTS, BACKENDS, GROUPS, MODELS, REFUSED, SENT, USER
from clawloops.web.fields import decimal, number
from clawloops.web.pages import render


async def show(request: web.Request) -> web.Response:
    app, model = request.app, request.app[MODELS].get(request.match_info["id"])
    granted = (await app[MODELS].grants()).get(model.id, Grants())
    places = model.places
    again = REFUSED in request and "price-of" not in request[SENT]  # of the two kinds of forms on this page, the upper
    if again:
        places = tuple(_places(request[SENT]))
        granted = _grants(request[SENT])
    return render(
        request,
        "name.html",
        model=model,
        places=[*places, *[Place("", "")] * (MOST_PLACES - len(places))],
        granted=granted,
        again=again,
        is_open=request[SENT].get("open") != "some" if again else model.is_open,
        backends=await app[BACKENDS].all(),
        groups=await app[GROUPS].all(),
        members=app[ACCOUNTS].members(),
        prices=[
            (_price_id(Place(backend.id, upstream)), backend.name, upstream, listed)
            for backend, upstream, listed in app[MODELS].prices_of(model)
        ],
    )


async def publish(request: web.Request) -> web.Response:
    places, backends = _places(request[SENT]), {each.id: each for each in await request.app[BACKENDS].all()}
    windows = [WINDOW[backends[each.backend_id].kind] for each in places if each.backend_id in backends]
    model = await request.app[MODELS].publish(
        request[SENT].get("name", ""),
        places,
        context_window=min(windows, default=1024),
        max_tokens=MAX_TOKENS,
        by=request[USER],
    )
    raise web.HTTPSeeOther(f"/models/names/{model.id}")


async def change(request: web.Request) -> web.Response:
    sent, models = request[SENT], request.app[MODELS]
    model = replace(
        models.get(request.match_info["id"]),
        name=sent.get("name", "").strip(),
        places=tuple(_places(sent)),
        context_window=_tokens(sent, "context_window"),
        max_tokens=_tokens(sent, "max_tokens"),
        is_open=sent.get("open") != "some",
    )
    await models.change(model, _grants(sent), by=request[USER])
    raise web.HTTPSeeOther("/models")


async def set_price(request: web.Request) -> web.Response:
    """What a million tokens cost at one of its places; all fields empty: as LiteLLM's table has it.

    Input from a cache costs what input does where nothing else is said.
    """
    sent, model = request[SENT], request.app[MODELS].get(request.match_info["id"])
    place = next((each for each in model.places if _price_id(each) == sent.get("price-of")), None)
    if place is None:
        raise NotFound("This place was removed meanwhile. Reload the page.")
    given = {name: sent.get(name, "").strip() for name in ("input", "cached", "output")}
    price = None
    if any(given.values()):
        given["cached"] = given["cached"] or given["input"]
        price = Price(**{name: _dollars(text, name) for name, text in given.items()})
    await request.app[MODELS].set_price(place, price, by=request[USER])
    raise web.HTTPSeeOther(f"/models/names/{model.id}")


def _price_id(place: Place) -> str:
    return f"{place.backend_id}/{place.upstream}"


def _dollars(text: str, field: str) -> int:
    refusal = "Give dollars for a million tokens, for example 0.25; 0 where it costs nothing."
    return 0 if text == "0" else decimal(text, field, scale=1_000_000, refusal=refusal)


async def remove(request: web.Request) -> web.Response:
    await request.app[MODELS].remove(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/models")


async def set_default(request: web.Request) -> web.Response:
    await request.app[MODELS].set_default(request.match_info["id"], by=request[USER])
    raise web.HTTPSeeOther("/models")


def _places(sent: MultiDict[str]) -> list[Place]:
    """The rows of the form in which something stands."""
    rows = zip(sent.getall("backend", []), sent.getall("upstream", []), strict=False)
    return [Place(backend, upstream.strip()) for backend, upstream in rows if upstream.strip()]


def _grants(sent: MultiDict[str]) -> Grants:
    return Grants(frozenset(sent.getall("users", [])), frozenset(sent.getall("groups", [])))


def _tokens(sent: MultiDict[str], field: str) -> int:
    text = sent.get(field, "").replace(",", "").strip()
    return number(text, field, digits=9, refusal="Give a number of tokens.")

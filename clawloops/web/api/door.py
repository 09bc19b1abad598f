"""What happens to a call before its handler sees it: who calls, whether they may, whether what they send is right."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from types import NoneType
from typing import Any

import msgspec
from aiohttp import hdrs, web
from multidict import MultiMapping

from clawloops.control.audit import by_way_of
from clawloops.errors import Forbidden, NotFound, NotSignedIn
from clawloops.web.api.document import document
from clawloops.web.api.operation import ROOT, Call, Operation
from clawloops.web.api.problems import Invalid, invalid
from clawloops.web.api.table import OPERATIONS
from clawloops.web.context import ACCOUNTS, FACTORS, SITE, TOKENS
from clawloops.web.middleware import address_of

JSON = "application/json"
_BEARER = re.compile(r"Bearer +([\x21-\x7e]{1,200})", re.IGNORECASE)
_ANY = re.compile(r"(\*/\*|application/\*|application/json)\s*(;.*)?", re.IGNORECASE)
_NONE_OF_IT = re.compile(r";\s*q=0(\.0{0,3})?\s*(;|$)")


def register(app: web.Application) -> None:
    """Every operation, the document that describes them, and a problem document for everything else below /api/."""
    paths: dict[str, list[Operation]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.address, []).append(operation)
    for address, those in paths.items():
        resource = app.router.add_resource(address)
        for operation in those:
            resource.add_route(operation.method, _bound(operation))
        resource.add_route("*", _refuse_method([each.method for each in those]))
    app.router.add_route("GET", f"{ROOT}/openapi.json", _describe)
    app.router.add_route("*", "/api/{rest:.*}", _find_nothing)


def _bound(operation: Operation) -> Any:
    body = msgspec.json.Decoder(operation.body) if operation.body is not None else None
    is_empty = operation.gives is NoneType

    async def answer(request: web.Request) -> web.Response:
        call = await _admitted(request, operation)
        _check_accept(request)
        taken: dict[str, Any] = {
            name: _in_path(request.match_info[name], kind) for name, kind in operation.parameters.items()
        }
        if operation.query is not None:
            taken["query"] = _in_query(request.query, operation.query)
        elif request.query:
            raise Invalid("This operation takes no query.", pointer=f"/{next(iter(request.query))[:100]}")
        if body is not None:
            taken["body"] = await _in_body(request, body)  # whose end its sender may hold back for ever
            call = await _admitted(request, operation)
        with by_way_of(call.token.in_words):
            given = await operation.handler(call, **taken)
        if is_empty:
            return web.Response(status=204)
        return web.Response(status=operation.status, body=msgspec.json.encode(given), content_type=JSON)

    return answer


async def _admitted(request: web.Request, operation: Operation) -> Call:
    """Who calls. Nothing of a cookie is looked at, so no page of another site can make use of one."""
    app = request.app
    _check_origin(request)
    found = [_BEARER.fullmatch(each) for each in request.headers.getall(hdrs.AUTHORIZATION, [])]
    if len(found) != 1 or found[0] is None:
        raise NotSignedIn("Send one token of yours: Authorization: Bearer clt_…")
    token = await app[TOKENS].admit(found[0][1], address_of(request))
    user = app[ACCOUNTS].get(token.user_id)
    if user.disabled_at is not None:
        raise NotSignedIn("This account is disabled.")
    if not user.role.works:
        raise Forbidden("This is the token of somebody who is a viewer now, and opens nothing. Ask an admin.")
    if operation.scope not in token.scopes:
        raise Forbidden(f"This token does not open {operation.scope}. Make one that does, under Your account.")
    if operation.scope.is_for_admins and not user.role.administers:
        raise Forbidden("This is for admins. Ask one of yours.")
    if app[FACTORS].is_missing(user):
        raise Forbidden("This box asks you for a second factor. Set one up under Your account first.")
    return Call(app, user, token)


def _check_origin(request: web.Request) -> None:
    """No page of another origin gets anything, not even with a token: workspaces are same-site with the dashboard."""
    origins = request.headers.getall(hdrs.ORIGIN, [])
    site = request.headers.get("Sec-Fetch-Site", "none")
    if (origins and origins != [request.app[SITE].origin]) or site not in ("none", "same-origin"):
        raise Forbidden("This call was sent by a page of another site. The API is for programs.")


def _check_accept(request: web.Request) -> None:
    wanted = [each.strip() for each in ",".join(request.headers.getall(hdrs.ACCEPT, [])).split(",") if each.strip()]
    if wanted and not any(_ANY.fullmatch(each) and not _NONE_OF_IT.search(each) for each in wanted):
        raise web.HTTPNotAcceptable(text=f"Everything here is {JSON}.")


def _in_path(text: str, kind: Any) -> Any:
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        raise NotFound("There is nothing at this address: a part of it cannot be an id.") from None


def _in_query(query: MultiMapping[str], kind: Any) -> Any:
    twice = next((name for name in query if len(query.getall(name)) > 1), None)
    if twice is not None:
        raise Invalid("This stands in the query twice.", pointer=f"/{twice[:100]}")
    try:
        return msgspec.convert(dict(query), kind, strict=False)
    except msgspec.ValidationError as error:
        raise invalid(error) from None


async def _in_body(request: web.Request, decoder: msgspec.json.Decoder[Any]) -> Any:
    if request.content_type != JSON or request.headers.get(hdrs.CONTENT_ENCODING, "identity") != "identity":
        raise web.HTTPUnsupportedMediaType(text=f"Send the body as plain {JSON}.")
    try:
        return decoder.decode(await request.read())
    except msgspec.MsgspecError as error:
        raise invalid(error) from None


def _refuse_method(methods: Sequence[str]) -> Any:
    async def refuse(request: web.Request) -> web.Response:
        raise web.HTTPMethodNotAllowed(request.method, methods)

    return refuse


async def _describe(request: web.Request) -> web.Response:
    """The document is no secret: it is the same on every box of this version."""
    _check_origin(request)
    return web.Response(body=await asyncio.to_thread(document), content_type=JSON)


async def _find_nothing(request: web.Request) -> web.Response:
    raise web.HTTPNotFound

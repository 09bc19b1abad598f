"""The guard's two doors, each an aiohttp application: one for the control plane, one for Traefik."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
from aiohttp import web

from clawloops.guard import sight
from clawloops.guard.engine import Answered, Engine, Query
from clawloops.guard.policy import Policy, Refused, admit, harmless
from clawloops.runtimes import names
from clawloops.runtimes.calls import Match, Target
from clawloops.runtimes.parts import RESTARTED, STOPS_WITHIN_S

_log = logging.getLogger(__name__)

_LARGEST = 1 << 18  # bytes of a body that is read; ours have a few thousand
_BODY_WITHIN_S = 20
_AT_ONCE = 32  # calls at each door; the control plane makes 8, and a few that last
_KNOWN = 4096  # containers and networks that are remembered by id: their labels never change

_VERSION = re.compile(r"^/v1\.[0-9]{2}(?=/)")
_KINDS: Mapping[Target, tuple[Target, ...]] = {
    Target.CONTAINER: (Target.RUNTIME, Target.CARRIER),
    Target.MEASURED: (Target.RUNTIME, Target.PART),
}
"""Which containers a call may be about, where that is more than one kind."""

_SHOWN: Mapping[str, Callable[[Any, Policy], Any]] = {
    "/containers/json": sight.containers,
    "/images/json": sight.images,
    "/info": sight.info,
    "/networks": sight.networks,
    "/volumes": sight.volumes,
    "/system/df": sight.volumes,
}


def control_door(policy: Policy, engine: Engine) -> web.Application:
    """Takes the calls of `clawloops/runtimes/calls.py`, for what belongs to this install."""
    return _application(_Control(policy, engine).call)


def traefik_door(policy: Policy, engine: Engine) -> web.Application:
    """Takes five GETs (ping, version, events, list, inspect), and shows members' runtimes with their routes."""
    return _application(_Traefik(policy, engine).call)


class _Control:
    def __init__(self, policy: Policy, engine: Engine) -> None:
        self._policy = policy
        self._engine = engine
        self._known: OrderedDict[str, tuple[Target, str]] = OrderedDict()  # id -> what it is, whose

    async def call(self, request: web.Request) -> web.StreamResponse:
        path, query = _asked(request)
        asked = admit(request.method, path, query)
        match asked.call.target:
            case Target.NOTHING:
                return await self._general(request, asked, query)
            case Target.NETWORK:
                return await self._network(request, asked)
            case Target.VOLUME:
                if not self._policy.is_volume(asked.name):
                    raise Refused("it is no workspace volume of ours")
                if request.method == "DELETE":
                    return await self._remove_volume(asked, query)
            case Target.IMAGE:
                if not self._policy.install.may_run(asked.name):  # for a runtime, it is as if it were not there
                    raise Answered(404, {"message": f"No such image that a runtime may be made of: {asked.name}"})
                if request.method == "DELETE":
                    if not self._policy.may_remove(asked.name):
                        raise Refused("it is the image of this install, or has no tag")
                    return await self._engine.answer("DELETE", asked.path())  # without force: none that is in use
            case _:
                return await self._container(request, asked, query)
        return await self._engine.answer(request.method, asked.path(), query)

    async def _general(self, request: web.Request, asked: Match, query: Query) -> web.StreamResponse:
        path = asked.path()
        match asked.bare:
            case "/events":
                return await self._engine.stream(request, path, query, line=self._event)
            case "/containers/create":
                body = self._policy.container(dict(query).get("name", ""), await _json(request))
                harmless(await self._engine.read(f"{asked.prefix}/images/{body['Image']}/json"))
                return await self._engine.answer("POST", path, query, body)
            case "/networks/create":
                return await self._engine.answer("POST", path, query, self._policy.network(await _json(request)))
            case "/volumes/create":
                return await self._engine.answer("POST", path, query, self._policy.volume(await _json(request)))
            case _ if asked.bare in _SHOWN:
                told = await self._engine.read(path, query)
                return web.json_response(_SHOWN[asked.bare](told, self._policy))
            case _:
                return await self._engine.answer(request.method, path, query)

    def _event(self, line: bytes) -> bytes:
        return sight.event(line, self._policy)

    async def _container(self, request: web.Request, asked: Match, query: Query) -> web.StreamResponse:
        if request.method == "GET" and asked.bare.endswith("/json"):  # inspect: it looks the same as our look
            told = await self._engine.read(asked.path())
            if self._kind(told)[0] is Target.PART:  # its environment is nobody's business
                raise Refused(f"it is not {asked.call.target} of ours")
            return web.json_response(told)
        full, kind, whose = await self._look(asked.prefix, asked.name)
        if kind not in _KINDS.get(asked.call.target, (asked.call.target,)):
            raise Refused(f"it is not {asked.call.target} of ours")
        path = asked.path(full)
        match request.method, asked.bare.rpartition("/")[2]:
            case "GET", "archive" | "logs":
                return await self._engine.stream(request, path, query)
            case "PUT", "archive":
                return await self._engine.fill(path, query, request.content)
            case "GET", "stats":
                once = (("stream", "false"), ("one-shot", "true"))  # whatever was asked for: it would never end
                return web.json_response(sight.stats(await self._engine.read(path, once)))
            case "POST", "restart":
                if whose not in RESTARTED:
                    raise Refused(f"{whose} is never started anew from here")
                return await self._engine.answer("POST", path, (("t", str(STOPS_WITHIN_S)),))
            case "POST", "update":
                return await self._engine.answer("POST", path, (), self._policy.update(await _json(request)))
            case "POST", "start":
                self._no_detours(whose)
        return await self._engine.answer(request.method, path, query)

    async def _network(self, request: web.Request, asked: Match) -> web.StreamResponse:
        told = await self._engine.read(f"{asked.prefix}/networks/{asked.name}")
        runtime_id = self._policy.runtime_of(told.get("Labels"))
        if not runtime_id:
            if request.method == "GET" and self._policy.is_ours(told.get("Name", ""), told.get("Labels")):
                return web.json_response(sight.network(told))  # somebody else's that is in the way has to be told of
            raise Refused("it is no member's network of ours")
        path = asked.path(told["Id"])
        match request.method, asked.bare.rpartition("/")[2]:
            case "POST", "connect":
                who, endpoint = self._policy.connect(await _json(request), told)
                if who != self._policy.install.edge:
                    who, kind, whose = await self._look(asked.prefix, who)
                    if kind is not Target.RUNTIME or whose != runtime_id:
                        raise Refused("only its own runtime and the edge belong on a member's network")
                return await self._engine.answer("POST", path, (), {"Container": who, "EndpointConfig": endpoint})
            case "POST", _:
                return await self._engine.answer("POST", path, (), self._policy.disconnect(await _json(request)))
            case "DELETE", _:
                return await self._engine.answer("DELETE", path)
        return web.json_response(told)

    async def _remove_volume(self, asked: Match, query: Query) -> web.StreamResponse:
        told = await self._engine.read(asked.path())
        if not self._policy.runtime_of(told.get("Labels")) or told.get("Options"):
            raise Refused("it has a name of ours, and is none of ours")
        return await self._engine.answer("DELETE", asked.path(), query)

    async def _look(self, prefix: str, name: str) -> tuple[str, Target, str]:
        """The full id, the kind and the runtime or part of a container. A name is looked up each time, an id once."""
        if name not in self._known:
            told = await self._engine.read(f"{prefix}/containers/{name}/json")
            name, known = told["Id"], self._kind(told)
            self._known[name] = known
            while len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        return name, *self._known[name]

    def _kind(self, told: Mapping[str, Any]) -> tuple[Target, str]:
        labels = (told.get("Config") or {}).get("Labels")
        if runtime_id := self._policy.runtime_of(labels):
            return Target.RUNTIME, runtime_id
        if self._policy.is_carrier(labels):
            return Target.CARRIER, ""
        if part := self._policy.part_of(labels):
            return Target.PART, part
        raise Refused("it is no container of a runtime of ours")

    def _no_detours(self, runtime_id: str) -> None:
        """Its two folders are what they are called: as a link, one would show the runtime another part of the host.

        Whoever can write there could still swap one between this look and the mount; see docs/security.md. The canary
        has none.
        """
        if runtime_id == names.CANARY:
            return
        for name in ("config", "secret"):
            path = f"{self._policy.install.data}/runtimes/{runtime_id}/{name}"
            try:
                leads_to = os.path.realpath(path, strict=True)
            except OSError as error:
                raise Refused(f"{path} cannot be looked at ({error.strerror})") from error
            if leads_to != path:
                raise Refused(f"{path} leads elsewhere")


class _Traefik:
    def __init__(self, policy: Policy, engine: Engine) -> None:
        self._policy = policy
        self._engine = engine

    async def call(self, request: web.Request) -> web.StreamResponse:
        """Whatever Traefik asks to filter by, it is shown all of its routes."""
        path, _ = _asked(request)
        match request.method, *_VERSION.sub("", path).split("/")[1:]:
            case "HEAD" | "GET", "_ping":
                return await self._engine.answer(request.method, "/_ping")
            case "GET", "version":
                return await self._engine.answer("GET", path)
            case "GET", "events":
                only = (("filters", json.dumps({"type": ["container"]})),)
                return await self._engine.stream(
                    request, path, only, line=lambda each: sight.route_event(each, self._policy)
                )
            case "GET", "containers", "json":
                rows = await self._engine.read(path, (("all", "1"),))
                return web.json_response([sight.route(each) for each in rows if sight.routed(each, self._policy)])
            case "GET", "containers", name, "json" if name.isalnum():
                told = await self._engine.read(path)
                if not sight.routed(told.get("Config") or {}, self._policy):
                    raise Refused("it is no runtime of ours")
                return web.json_response(sight.route_inspected(told))
            case _:
                raise Refused(f"{request.method} of this path is nothing that Traefik needs")


def _application(call: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    busy = asyncio.Semaphore(_AT_ONCE)

    async def answer(request: web.Request) -> web.StreamResponse:
        if busy.locked():
            return web.json_response({"message": "the guard has too many calls under way"}, status=503)
        try:
            async with busy:
                return await call(request)
        except Refused as refused:
            _log.warning("%s %.200r: %s", request.method, request.raw_path, refused)
            return web.json_response({"message": str(refused)}, status=403)
        except Answered as answered:
            return answered.reply
        except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError) as error:
            # 502 is never the Engine's own: it was not reached, or what it said could not be read.
            _log.warning("%s %.200r: the Engine does not answer: %r", request.method, request.raw_path, error)
            return web.json_response({"message": f"no answer behind the guard: {error}"}, status=502)

    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    return app


def _asked(request: web.Request) -> tuple[str, Query]:
    """The path as it was sent, and the parameters."""
    path, _, query = request.raw_path.partition("?")
    try:
        return path, parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=10) if query else []
    except ValueError as error:
        raise Refused("its parameters cannot be read") from error


async def _json(request: web.Request) -> Any:
    data = bytearray()
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            async for chunk in request.content.iter_any():
                data += chunk
                if len(data) > _LARGEST:
                    raise Refused("the body is larger than any of ours")
    except TimeoutError as error:
        raise Refused("the body does not come") from error
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused("the body is not JSON") from error

"""`clawloops model …`: backends and public names from a shell on the box, checked as on the dashboard."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from clawloops.config import Settings
from clawloops.console import console, every, print_json, print_table, tell_control_plane
from clawloops.errors import BadInput, NotFound
from clawloops.model.provider import BackendKind
from clawloops.web.api import backends, models
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Paged
from clawloops.web.context import BACKENDS, MODELS

_ABOUT = """\
Model backends and the names that members see. A backend is checked with a real call before it is kept; its key is read
from a file or from standard input, never from the command line, where other users of this box could see it."""

_OF_NOW = ("is_resting", "trouble", "trouble_since", "running", "waiting", "is_aside")


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`model` with its own commands."""
    model = commands.add_parser("model", help="models: list, backends, add, default, remove", description=_ABOUT)
    verbs = model.add_subparsers(dest="verb", required=True)
    shown = verbs.add_parser("list", help="every public name, and where it leads")
    shown.add_argument("--json", action="store_true", help="for programs: one JSON document on stdout")
    shown = verbs.add_parser("backends", help="every backend, its keys' names, and what it serves")
    shown.add_argument("--json", action="store_true", help="for programs: one JSON document on stdout")
    verbs.add_parser("default", help="the name that new chats start with").add_argument("name")
    limit = verbs.add_parser("limit", help="how many calls a backend serves at once, and what is known of its GPU")
    limit.add_argument("name", help="the backend's")
    limit.add_argument("slots", type=int, metavar="CALLS", help="0: as many as come")
    limit.add_argument("--watts", type=int, help="what it draws then; 0: not known; left out: as it is")
    limit.add_argument("--memory-mb", type=int, metavar="MIB", help="its GPU's; 0: not known; left out: as it is")
    add = verbs.add_parser("add", help="connect a backend, checked with a real call", description=_ABOUT)
    add.add_argument("kind", choices=[each.value for each in BackendKind], help="ollama, openai (compatible), litellm")
    add.add_argument("models", nargs="*", metavar="MODEL", help="the backend's own names; none: all that it lists")
    add.add_argument("--url", default="", help="its address; left out, ollama means the one on this box")
    add.add_argument("--provider", default="", help="LiteLLM's name of the provider, for example anthropic")
    add.add_argument("--name", default="", help="a name for the backend")
    add.add_argument("--key-file", default="", metavar="FILE", help="file that holds its key; - reads standard input")
    remove = verbs.add_parser("remove", help="remove a public name, or with --backend a whole backend")
    remove.add_argument("name", help="a public name; with --backend the backend's name")
    remove.add_argument("--backend", action="store_true", help="forget the backend with its keys")


async def run(settings: Settings, given: argparse.Namespace) -> None:
    """Run one of the commands. Raises what the services refuse, with the next step in words."""
    async with console(settings) as call:
        match given.verb:
            case "list":
                await _list(call, as_json=given.json)
            case "backends":
                await _list_backends(call, as_json=given.json)
            case _:
                await _change(call, given)
                tell_control_plane(settings.data)


async def _change(call: Call, given: argparse.Namespace) -> None:
    match given.verb:
        case "add":
            backend = await call.app[BACKENDS].add(
                kind=BackendKind(given.kind),
                name=given.name,
                url=given.url,
                provider=given.provider,
                key=_key(given.key_file),
                names=given.models,
                by=call.user,
            )
            names = call.app[MODELS].names()
            served = [each.name for each in names if any(place.backend_id == backend.id for place in each.places)]
            print(f"{backend.name}: connected; members see {', '.join(served) or 'nothing of it yet'}.")
        case "default":
            await models.set_default(call, _name(call, given.name))
            print(f"{given.name}: new chats start with it.")
        case "limit":
            now = await call.app[BACKENDS].get(await _backend(call, given.name))
            watts = now.watts if given.watts is None else given.watts
            memory_mb = now.memory_mb if given.memory_mb is None else given.memory_mb
            load = backends.Load(slots=given.slots, watts=watts, memory_mb=memory_mb)
            await backends.set_load(call, now.id, load)
            print(f"{given.name}: {given.slots or 'as many calls as come'} at once.")
        case _ if given.backend:
            await backends.remove(call, await _backend(call, given.name))
            print(f"{given.name}: removed, with its keys.")
        case _:
            await models.remove(call, _name(call, given.name))
            print(f"{given.name}: removed; what it led to stays.")


async def _list(call: Call, *, as_json: bool) -> None:
    found = await every(models.list_all, call, Paged())
    if as_json:
        print_json(found)
        return
    titles = {each.id: each.name for each in await call.app[BACKENDS].all()}
    table = [["NAME", "LEADS TO", "CONTEXT", ""]]
    for each in found:
        leads = ", else ".join(f"{titles[place.backend_id]}: {place.upstream}" for place in each.places)
        notes = ["default"] * each.is_default + ["not for everybody"] * (not each.is_open)
        table.append([each.name, leads, str(each.context_window), ", ".join(notes)])
    print_table(table)


async def _list_backends(call: Call, *, as_json: bool) -> None:
    found = await every(backends.list_all, call, Paged())
    if as_json:
        print_json([_known(each) for each in found])
        return
    table = [["NAME", "KIND", "ADDRESS", "AT ONCE", "KEYS", "SERVES"]]
    for each in found:
        slots = str(each.slots) if each.slots else "all"
        where = each.url or each.provider
        table.append([each.name, each.kind, where, slots, str(len(each.keys)), ", ".join(each.served)])
    print_table(table)


def _known(backend: backends.Backend) -> dict[str, object]:
    """As the API has it, but for what only the running control plane knows."""
    return {**_without_now(backend), "keys": [_without_now(each) for each in backend.keys]}


def _without_now(shown: msgspec.Struct) -> dict[str, object]:
    return {name: each for name, each in msgspec.structs.asdict(shown).items() if name not in _OF_NOW}


def _key(path: str) -> str:
    if not path:
        return ""
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text()).strip()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error


async def _backend(call: Call, name: str) -> str:
    found = next((each.id for each in await call.app[BACKENDS].all() if each.name == name), None)
    if found is None:
        raise NotFound(f"there is no backend {name!r}; clawloops model backends shows them")
    return found


def _name(call: Call, name: str) -> str:
    found = next((each.id for each in call.app[MODELS].names() if each.name == name), None)
    if found is None:
        raise NotFound(f"there is no name {name!r}; clawloops model list shows them")
    return found

"""`clawloops model …`: backends and public names from a shell on the box, checked as on the dashboard."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from clawloops import app, cli
from clawloops.config import Settings
from clawloops.control.backends import Backends
from clawloops.control.models import Models
from clawloops.control.runtimes import CONSOLE
from clawloops.errors import BadInput, NotFound
from clawloops.model.provider import BackendKind

_ABOUT = """\
Model backends and the names that members see. A backend is checked with a real call before it is kept; its key is read
from a file or from standard input, never from the command line, where other users of this box could see it."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`model` with its own commands."""
    model = commands.add_parser("model", help="model backends: list, add, remove", description=_ABOUT)
    verbs = model.add_subparsers(dest="verb", required=True)
    shown = verbs.add_parser("list", help="every public name, and where it leads")
    shown.add_argument("--json", action="store_true", help="for programs: one JSON document on stdout")
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
    async with app.model_services(settings) as (models, backends):
        match given.verb:
            case "list":
                await _list(models, backends, as_json=given.json)
                return
            case "add":
                backend = await backends.add(
                    kind=BackendKind(given.kind),
                    name=given.name,
                    url=given.url,
                    provider=given.provider,
                    key=_key(given.key_file),
                    names=given.models,
                    by=CONSOLE,
                )
                served = [each.name for each in models.names() if any(p.backend_id == backend.id for p in each.places)]
                print(f"{backend.name}: connected; members see {', '.join(served) or 'nothing of it yet'}.")
            case _ if given.backend:
                await backends.remove(await _backend(backends, given.name), by=CONSOLE)
                print(f"{given.name}: removed, with its keys.")
            case _:
                await models.remove(_name(models, given.name), by=CONSOLE)
                print(f"{given.name}: removed; what it led to stays.")
    cli.tell_control_plane(settings.data)


async def _list(models: Models, backends: Backends, *, as_json: bool) -> None:
    titles = {each.id: each.name for each in await backends.all()}
    rows = [
        {
            "name": each.name,
            "default": each.is_default,
            "open": each.is_open,
            "context_window": each.context_window,
            "places": [{"backend": titles[place.backend_id], "model": place.upstream} for place in each.places],
        }
        for each in models.names()
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = [["NAME", "LEADS TO", "CONTEXT", ""]]
    for each in models.names():
        leads = ", else ".join(f"{titles[place.backend_id]}: {place.upstream}" for place in each.places)
        notes = ["default"] * each.is_default + ["not for everybody"] * (not each.is_open)
        table.append([each.name, leads, str(each.context_window), ", ".join(notes)])
    cli.print_table(table)


def _key(path: str) -> str:
    if not path:
        return ""
    try:
        return (sys.stdin.read() if path == "-" else Path(path).read_text()).strip()
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error


async def _backend(backends: Backends, name: str) -> str:
    found = next((each.id for each in await backends.all() if each.name == name), None)
    if found is None:
        raise NotFound(f"there is no backend {name!r}; clawloops model list shows them")
    return found


def _name(models: Models, name: str) -> str:
    found = next((each.id for each in models.names() if each.name == name), None)
    if found is None:
        raise NotFound(f"there is no name {name!r}; clawloops model list shows them")
    return found

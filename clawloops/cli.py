"""`clawloops runtime …`: members' workspaces from a shell on the box. Wishes are written down, never told to Docker."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from clawloops import ground
from clawloops.config import Settings
from clawloops.console import print_table, tell_control_plane
from clawloops.control.accounts import Accounts
from clawloops.control.rollouts import Rollouts
from clawloops.control.runtimes import CONSOLE, Runtimes
from clawloops.control.sessions import Sessions
from clawloops.errors import BadInput, Conflict, NotFound
from clawloops.model.account import User
from clawloops.model.runtime import Policy, Runtime, Size, Sleep, Want
from clawloops.model.workspace import Happening

_ABOUT = """\
Members' workspaces, by login. A command writes down what is wanted; the running control plane notices within a second
and makes it so (on its own it would look after 30 s at most). Nothing here speaks to Docker, and `list` shows what is
wanted and decided; what Docker makes of it is on the dashboard, under Box."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`runtime` with its own commands, each with `--json` where it shows something."""
    runtime = commands.add_parser(
        "runtime", help="members' workspaces: list, history, start, stop, wake, sizes", description=_ABOUT
    )
    verbs = runtime.add_subparsers(dest="verb", required=True)

    def verb(name: str, text: str, *, login: bool = True) -> argparse.ArgumentParser:
        parser = verbs.add_parser(name, help=text, description=text)
        if login:
            parser.add_argument("login", help="whose workspace")
        parser.add_argument("--json", action="store_true", help="for programs: one JSON document on stdout")
        return parser

    verb("list", "every workspace: what is wanted of it, how it sleeps, its size and image", login=False)
    events = verb("events", "what happened to a workspace, newest last, each step with its duration")
    events.add_argument("--limit", type=int, default=50, metavar="N", help="so many lines at most (default 50)")
    verb("start", "make it run; ends its sleep too")
    verb("stop", "stop it; a turn that is under way may finish first")
    verb("restart", "stop and start it, with whatever settings wait for that")
    verb("wake", "end its sleep; one that was stopped on purpose stays stopped")
    verb("size", "what it may use").add_argument("size", choices=[each.value for each in Size])
    verb("policy", "how deep it may sleep when nobody uses it").add_argument(
        "policy", choices=[each.value for each in Policy]
    )
    verb("pin", "keep it on one image").add_argument("image", help="name of the image; '' to follow the box again")


async def run(settings: Settings, given: argparse.Namespace) -> None:
    """Run one of the commands. Raises NotFound for an unknown login, and what the services refuse."""
    async with ground.store(settings) as db:
        audit = await ground.open_audit(db, settings)
        accounts = Accounts(db, Sessions(db), audit)
        await accounts.load()
        runtimes = Runtimes(db, audit, pool=settings.runtime_pool, wake=lambda _: tell_control_plane(settings.data))
        people = {each.id: each for each in accounts.members()}
        if given.verb == "list":
            _show_all(await runtimes.all(by=CONSOLE), people, as_json=given.json)
            return
        runtime = await _of(runtimes, people, given.login)
        if given.verb == "events":
            lines = await runtimes.history(runtime.id, by=CONSOLE, limit=max(1, given.limit))
            _show_history(lines[::-1], people, as_json=given.json)
            return
        if given.verb == "pin":
            rollouts = Rollouts(db, audit, install=settings.install, look=lambda: tell_control_plane(settings.data))
            runtime = await rollouts.pin(runtime.id, given.image, by=CONSOLE)
        else:
            runtime = await _change(runtimes, runtime, given)
        if given.json:
            print(json.dumps(_plain(runtime, people), indent=2))
        else:
            print(f"{given.login}: {_state(runtime)}, {runtime.size}, {runtime.policy}. The control plane follows.")


async def _change(runtimes: Runtimes, runtime: Runtime, given: argparse.Namespace) -> Runtime:
    match given.verb:
        case "start":
            return await runtimes.wish(runtime.id, Want.RUNNING, by=CONSOLE)
        case "stop":
            return await runtimes.wish(runtime.id, Want.STOPPED, by=CONSOLE)
        case "wake":
            if runtime.want is not Want.RUNNING:
                raise Conflict(f"the workspace of {given.login} is stopped; start it: clawloops runtime start …")
            return await runtimes.wish(runtime.id, Want.RUNNING, by=CONSOLE)
        case "restart":
            await runtimes.restart(runtime.id, by=CONSOLE)
            return await runtimes.get(runtime.id, by=CONSOLE)
        case "size":
            return await runtimes.settings(runtime.id, by=CONSOLE, size=Size(given.size))
        case "policy":
            return await runtimes.settings(runtime.id, by=CONSOLE, policy=Policy(given.policy))
        case _:
            raise BadInput(f"there is no command {given.verb!r}; see clawloops runtime --help")


async def _of(runtimes: Runtimes, people: Mapping[str, User], login: str) -> Runtime:
    user = next((each for each in people.values() if each.login == login.lower()), None)
    if user is None:
        raise NotFound(f"there is no member {login!r}; clawloops runtime list shows whose workspaces there are")
    runtime = await runtimes.of_owner(user.id)
    if runtime is None:
        raise NotFound(f"{user.login} has no workspace yet; it is made when they open it")
    return runtime


def _state(runtime: Runtime) -> str:
    """What is wanted of it, and what the orchestrator decided."""
    match runtime.want, runtime.sleep:
        case Want.RUNNING, Sleep.AWAKE:
            return "running"
        case Want.RUNNING, Sleep.PAUSED:
            return "paused"
        case Want.RUNNING, _:
            return "asleep"
        case Want.STOPPED, _:
            return "stopped"
        case _:
            return "deleted"


def _plain(runtime: Runtime, people: Mapping[str, User]) -> dict[str, object]:
    return {
        "login": people[runtime.owner].login,
        "id": runtime.id,
        "slug": runtime.slug,
        "state": _state(runtime),
        "why": runtime.sleep_why,
        "policy": runtime.policy.value,
        "sleeps_despite_polling": runtime.sleeps_despite_polling,
        "size": runtime.size.value,
        "image": runtime.image,
        "pin": runtime.pin,
        "failures": runtime.failures,
        "failure": runtime.failure,
    }


def _show_all(found: Sequence[Runtime], people: Mapping[str, User], *, as_json: bool) -> None:
    rows = [_plain(each, people) for each in found]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    heads = ("login", "state", "size", "policy", "image", "why")
    table = [[str(row["pin"] or row[head]) if head == "image" else str(row[head]) for head in heads] for row in rows]
    print_table([[each.upper() for each in heads], *table])


def _show_history(lines: Sequence[Happening], people: Mapping[str, User], *, as_json: bool) -> None:
    def who(user_id: str | None) -> str:
        known = people.get(user_id or "")
        return known.login if known else ""

    if as_json:
        rows = [
            {"id": each.id, "at": each.at, "kind": each.kind, "text": each.text, "took_ms": each.took_ms,
             "actor": who(each.actor)} for each in lines
        ]  # fmt: skip
        print(json.dumps(rows, indent=2))
        return
    print_table([[_at(each.at), _took(each.took_ms), each.text] for each in lines])


def _at(instant: int) -> str:
    return f"{datetime.fromtimestamp(instant / 1000).astimezone():%Y-%m-%d %H:%M:%S}"


def _took(ms: int | None) -> str:
    return "" if ms is None else f"{ms / 1000:.2f} s"

"""`clawloops user password LOGIN`: the way back in for somebody who forgot theirs, from a shell on the box."""

from __future__ import annotations

import argparse
import json

from clawloops import cli, ground
from clawloops.config import Settings
from clawloops.control.accounts import Accounts
from clawloops.control.sessions import Sessions

_ABOUT = """\
Gives a member a new random password, prints it once, and ends every session of theirs; the running control plane
follows within a second. Whoever gets it changes it under "Your account". Their workspace and their keys for other tools
stay as they are."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`user password`."""
    user = commands.add_parser("user", help="people of this box: a new password for one who forgot theirs")
    password = user.add_subparsers(dest="verb", required=True).add_parser(
        "password", help="a new password, printed once", description=_ABOUT
    )
    password.add_argument("login", help="whose")
    password.add_argument("--json", action="store_true", help="for programs: one JSON document on stdout")


async def run(settings: Settings, given: argparse.Namespace) -> None:
    """Raises NotFound for an unknown login, and SetupError."""
    async with ground.store(settings) as db:
        audit = await ground.open_audit(db, settings)
        accounts = Accounts(db, Sessions(db), audit)
        await accounts.load()
        user, password = await accounts.new_password(given.login)
    cli.tell_control_plane(settings.data)
    if given.json:
        print(json.dumps({"login": user.login, "password": password}, indent=2))
    else:
        print(f"{user.name} signs in as {user.login} with this password, and changes it under Your account:\n")
        print(f"    {password}")

"""`clawloops backup …`: copies of the database, and the way back to one."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from clawloops.config import Settings
from clawloops.console import console, every, print_json, print_table
from clawloops.restore import restore
from clawloops.web.api import backups
from clawloops.web.api.paging import Paged

_ABOUT = """\
Copies of the SQLite database in the folder backups: one a day by itself, seven of which are kept, and those that are
asked for. Members' files and the master key are not in them (docs/operations.md, Back up). PostgreSQL has its own tool
for that: pg_dump."""
_RESTORE = """\
Puts a backup back in place of the database; what was in use until then is kept as a backup as well. The control plane
must not run meanwhile; workspaces go on:
  docker compose stop clawloops
  docker compose run --rm clawloops clawloops backup restore NAME
  docker compose start clawloops
Everybody signs in again. Accounts, passwords, keys and tokens are those of then: revoke again what was revoked since.
Files of workspaces stay as they are; volumes that the backup knows nothing of become snapshots of their workspace."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`backup` with its own commands, each with `--json` where it shows something."""
    backup = commands.add_parser(
        "backup", help="copies of the database: list, make, remove, restore", description=_ABOUT
    )
    verbs = backup.add_subparsers(dest="verb", required=True)

    def verb(name: str, text: str, about: str = "", *, named: bool = False, shows: bool = True) -> None:
        parser = verbs.add_parser(
            name, help=text, description=about or text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if named:
            parser.add_argument("name", help="as `backup list` shows it")
        if shows:
            parser.add_argument("--json", action="store_true", help="for programs: one JSON document on stdout")

    verb("list", "every backup, newest first")
    verb("make", "make one now, while the box is in use")
    verb("remove", "remove one for good", named=True, shows=False)
    verb("restore", "go back to one, while no control plane runs", _RESTORE, named=True)


async def run(settings: Settings, given: argparse.Namespace) -> None:
    """Raises NotFound for an unknown name, Conflict on PostgreSQL, and SetupError where the disk is in the way."""
    if given.verb == "restore":
        await _restore(settings, given)
        return
    async with console(settings) as call:
        match given.verb:
            case "list":
                _show(await every(backups.list_backups, call, Paged()), given)
            case "make":
                made = await backups.make(call)
                if given.json:
                    print_json(made)
                else:
                    print(f"{made.name}: made, {made.size:,} bytes.")
            case _:
                await backups.remove(call, given.name)
                print(f"{given.name}: removed.")


def _show(found: list[backups.BackupFile], given: argparse.Namespace) -> None:
    if given.json:
        print_json(found)
        return
    rows = [[each.name, each.reason, f"{each.made_at:%Y-%m-%d %H:%M:%S}", f"{each.size:,}"] for each in found]
    print_table([["NAME", "WHY", "MADE (UTC)", "BYTES"], *rows])


async def _restore(settings: Settings, given: argparse.Namespace) -> None:
    done = await restore(settings, given.name)
    if given.json:
        print_json(asdict(done))
        return
    print(f"{done.name} is in place. Start the control plane: docker compose start clawloops")
    if done.kept:
        print(f"What was in use until now is kept as {done.kept}.")
    for slug, number in done.found:
        print(f"Workspace {slug}: a volume (number {number}) that the backup did not know is among its snapshots.")

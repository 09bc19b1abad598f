"""`clawloops keys rotate`: a new master key for everything that is sealed."""

from __future__ import annotations

import argparse

from clawloops import ground
from clawloops.config import Settings
from clawloops.control import rotation

_ABOUT = """\
Makes a new master key and seals every provider key with it. The control plane must not run meanwhile; workspaces go on:
  docker compose stop clawloops
  docker compose run --rm clawloops clawloops keys rotate
  docker compose start clawloops
Interrupted, it is taken up again by the same command. Provider keys themselves do not change; whoever may have seen one
has to be shut out at the provider."""


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`keys rotate`."""
    keys = commands.add_parser("keys", help="the master key: rotate it")
    keys.add_subparsers(dest="verb", required=True).add_parser(
        "rotate",
        help="make a new master key, and seal every provider key with it",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


async def run(settings: Settings) -> None:
    """Raises SetupError and SealBroken; then nothing has changed."""
    async with ground.alone(settings) as db:
        done = await rotation.rotate(db, settings.data / "keys", install_id=settings.install_id)
    print(
        f"A new master key ({done.key_id}) is in place; {done.sealed} provider keys are sealed with it.\n"
        f"Back up {settings.data / 'keys' / rotation.MASTER} now. The old one is kept as {done.kept.name}: backups of "
        "the database from before need it, and nothing else does. Delete it together with them."
    )

"""The command line: what runs the box, what looks after it, and what its pages show and change, from a shell."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Sequence

import uvloop

from clawloops import (
    __version__,
    app,
    cli,
    cli_audit,
    cli_backup,
    cli_keys,
    cli_member,
    cli_model,
    cli_usage,
    doctor,
    ground,
    support,
)
from clawloops.config import Settings, load
from clawloops.errors import ClawLoopsError
from clawloops.log import configure

BENCHMARKS = ("auth", "gateway", "lifecycle", "pages")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 a failure that its text explains, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="clawloops", description="Private OpenClaw workspaces for a small team")
    parser.add_argument("--version", action="version", version=f"clawloops {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="run the control plane, the orchestrator and the model gateway")
    commands.add_parser("guard", help="hold the Docker socket, and lend what the control plane and Traefik need of it")
    commands.add_parser("migrate", help="bring the database to this version, with a backup before")
    commands.add_parser("setup-link", help="print a one-time link that makes the owner; nothing once there is one")
    commands.add_parser("doctor", help="check every part, and say what to do about each that fails")
    commands.add_parser("support", help="write an archive for somebody who helps: no secrets, no names of members")
    cli.add_commands(commands)
    cli_member.add_commands(commands)
    cli_model.add_commands(commands)
    cli_usage.add_commands(commands)
    cli_audit.add_commands(commands)
    cli_backup.add_commands(commands)
    cli_keys.add_commands(commands)
    bench = commands.add_parser("bench", help="measure this box: bench lifecycle --help")
    bench.add_argument("name", choices=BENCHMARKS)
    bench.add_argument("arguments", nargs=argparse.REMAINDER)
    chosen = parser.parse_args(argv)
    command: str = chosen.command
    try:
        if command == "bench":  # loaded only now: a control plane carries none of it
            return int(importlib.import_module(f"clawloops.bench.{chosen.name}").main(chosen.arguments))
        if command == "guard":
            return int(importlib.import_module("clawloops.guard.__main__").main())
        settings = load(os.environ)
        configure(settings.log_level)
        return _run(chosen, settings)
    except ClawLoopsError as error:
        print(f"clawloops {command}: {error}", file=sys.stderr)
        return 1


def _run(chosen: argparse.Namespace, settings: Settings) -> int:
    match chosen.command:
        case "serve":
            uvloop.run(app.serve(settings))
        case "migrate":
            asyncio.run(_migrate(settings))
        case "setup-link":
            asyncio.run(_setup_link(settings))
        case "runtime":
            asyncio.run(cli.run(settings, chosen))
        case "model":
            asyncio.run(cli_model.run(settings, chosen))
        case "audit":
            return asyncio.run(cli_audit.run(settings, chosen))
        case "backup":
            asyncio.run(cli_backup.run(settings, chosen))
        case "keys":
            asyncio.run(cli_keys.run(settings))
        case "member" | "user":
            asyncio.run(cli_member.run(settings, chosen))
        case "usage":
            asyncio.run(cli_usage.run(settings, chosen))
        case "doctor":
            return asyncio.run(doctor.examine(settings))
        case "support":
            asyncio.run(support.run(settings))
    return 0


async def _migrate(settings: Settings) -> None:
    async with ground.store(settings):
        print("the database is at this version")


async def _setup_link(settings: Settings) -> None:
    async with ground.store(settings) as db:
        link = await (await app.setup_links(db, settings)).setup_link()
        if link:
            print(link)


if __name__ == "__main__":
    sys.exit(main())

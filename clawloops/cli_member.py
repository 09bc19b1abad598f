"""`clawloops member …`: people and groups from a shell on the box, through the services of the dashboard."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

from clawloops.config import Settings
from clawloops.console import console, every, print_json, print_table, tell_control_plane
from clawloops.control.groups import MOST_WEIGHT
from clawloops.errors import NotFound
from clawloops.model.account import Role
from clawloops.web.api import people
from clawloops.web.api.operation import Call
from clawloops.web.api.paging import Paged
from clawloops.web.context import ACCOUNTS, FACTORS, GROUPS, INVITATIONS

_ABOUT = """\
People of this box, by login. What is changed here is in the audit, which names nobody for it; the running control
plane follows within a second. With --json, members, invitations and groups have the fields of the JSON API
(docs/json-api.md). What is wrong is told on standard error, and ends with 1; wrong words end with 2."""
_RESET = """\
Gives a member a new random password, prints it once, and ends every session of theirs; the running control plane
follows within a second. Whoever gets it changes it under "Your account". Their workspace and their keys for other tools
stay as they are, and so do their second factors: for somebody who lost those, too, add --without-second-factor. That
removes their authenticator app, passkeys and recovery codes, so the new password alone signs in."""
_DISABLE = """\
Shut a member out: sessions end, keys rest, tokens end for good, the workspace is stopped. Its files stay."""
_ROLE = """\
Make somebody an admin, a member or a viewer; they sign in again. A viewer sees how the box does and changes nothing:
keys rest, tokens end for good, the workspace is stopped. Its files stay."""
_OWNER = """\
Make an admin the owner of this box, and an admin of who was that: for a box whose owner has left.
The new one signs in again, and must have a password here, which always signs an owner in."""

Commands = argparse._SubParsersAction


def add_commands(commands: Commands[argparse.ArgumentParser]) -> None:
    """`member` with its own commands, and `user password`, which `member reset` was called once."""
    member = commands.add_parser(
        "member", help="people: list, invite, role, owner, disable, enable, reset, groups", description=_ABOUT
    )
    verbs = member.add_subparsers(dest="verb", required=True)
    _verb(verbs, "list", "everybody, and what each has used this month")
    invite = _verb(verbs, "invite", "make a link for one new member, good for seven days; it is printed once")
    roles = [each.value for each in Role if each is not Role.OWNER]
    invite.add_argument("--role", choices=roles, default=Role.MEMBER.value, help="default: member")
    invite.add_argument("--note", default="", help="for whom it is")
    _verb(verbs, "invitations", "links that can still be used; the links themselves are known to nobody")
    withdraw = verbs.add_parser("withdraw", help="make a link worth nothing")
    withdraw.add_argument("id", help="as `member invitations` shows it")
    role = _verb(verbs, "role", _ROLE)
    role.add_argument("login")
    role.add_argument("role", choices=roles)
    _verb(verbs, "owner", _OWNER).add_argument("login")
    _verb(verbs, "disable", _DISABLE).add_argument("login")
    _verb(verbs, "enable", "let somebody in again who was shut out").add_argument("login")
    _add_reset(verbs, "reset")
    group = verbs.add_parser("group", help="groups: list, set, remove").add_subparsers(dest="group_verb", required=True)
    _verb(group, "list", "every group, who is in it, and its share of backends")
    wanted = _verb(group, "set", "make a group, or change it: it is what is said here, whole")
    wanted.add_argument("name")
    wanted.add_argument("logins", nargs="*", metavar="LOGIN", help="who is in it")
    wanted.add_argument("--weight", type=int, default=1, help=f"share of a backend's time, 1 to {MOST_WEIGHT}")
    group.add_parser("remove", help="remove it, with its grants, keys and budgets").add_argument("name")
    user = commands.add_parser("user", help="the same as `member reset`, by its earlier name: user password LOGIN")
    _add_reset(user.add_subparsers(dest="verb", required=True), "password")


async def run(settings: Settings, given: argparse.Namespace) -> None:
    """Run one of the commands. Raises NotFound for an unknown login, and what the services refuse."""
    async with console(settings) as call:
        match given.verb:
            case "list":
                _show_members(await every(people.list_members, call, Paged()), as_json=given.json)
            case "invitations":
                _show_invitations(await every(people.list_invitations, call, Paged()), as_json=given.json)
            case "group" if given.group_verb == "list":
                _show_groups(call, await every(people.list_groups, call, Paged()), as_json=given.json)
            case _:
                try:
                    await _change(call, given)
                finally:  # also when it was done in part
                    tell_control_plane(settings.data)


def _verb(verbs: Commands[argparse.ArgumentParser], name: str, text: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text.splitlines()[0], description=text)
    parser.add_argument("--json", action="store_true", help="for programs: one JSON document on stdout")
    return parser


def _add_reset(verbs: Commands[argparse.ArgumentParser], name: str) -> None:
    reset = verbs.add_parser(name, help="a new password, printed once", description=_RESET)
    reset.add_argument("login", help="whose")
    reset.add_argument("--without-second-factor", action="store_true", help="remove theirs, too: all were lost")
    reset.add_argument("--json", action="store_true", help="for programs: one JSON document on stdout")


async def _change(call: Call, given: argparse.Namespace) -> None:
    match given.verb:
        case "invite":
            await _invite(call, given)
        case "withdraw":
            await people.withdraw(call, given.id)
            print(f"{given.id}: withdrawn.")
        case "role" | "owner":
            await _set_role(call, given)
        case "disable" | "enable":
            await _admit(call, given)
        case "group":
            await _change_groups(call, given)
        case _:
            await _reset(call, given)


async def _invite(call: Call, given: argparse.Namespace) -> None:
    role = Role(given.role)
    link = await call.app[INVITATIONS].invite(role=role, note=given.note, by=call.user)
    if given.json:
        print_json({"link": link, "role": role, "note": given.note.strip()})
    else:
        print(f"A link for one new {role}, good for seven days. Nobody can show it again:\n\n    {link}")


async def _set_role(call: Call, given: argparse.Namespace) -> None:
    member = call.app[ACCOUNTS].of_login(given.login)
    if given.verb == "owner":
        await call.app[ACCOUNTS].hand_over(member.id, by=call.user)
    else:
        await call.app[ACCOUNTS].set_role(member.id, Role(given.role), by=call.user)
    shown = await people.show_member(call, member.id)
    if given.json:
        print_json(shown)
    else:
        print(f"{shown.login}: {shown.role}.")


async def _admit(call: Call, given: argparse.Namespace) -> None:
    member = call.app[ACCOUNTS].of_login(given.login)
    if given.verb == "disable":
        shown = await people.disable(call, member.id)
    else:
        await call.app[ACCOUNTS].enable(member.id, by=call.user)
        shown = await people.show_member(call, member.id)
    if given.json:
        print_json(shown)
    else:
        print(f"{shown.login}: {'disabled' if shown.is_disabled else 'enabled'}.")


async def _reset(call: Call, given: argparse.Namespace) -> None:
    also = partial(call.app[FACTORS].clear, by=None) if given.without_second_factor else None
    user, password = await call.app[ACCOUNTS].new_password(given.login, also=also)
    if given.json:
        print_json({"login": user.login, "password": password})
    else:
        print(f"{user.name} signs in as {user.login} with this password, and changes it under Your account:\n")
        print(f"    {password}")


async def _change_groups(call: Call, given: argparse.Namespace) -> None:
    known = next((each.id for each in await call.app[GROUPS].all() if each.name == given.name), None)
    if given.group_verb == "remove":
        if known is None:
            raise NotFound(f"there is no group {given.name!r}; clawloops member group list shows them")
        await people.remove_group(call, known)
        print(f"{given.name}: removed.")
        return
    members = [call.app[ACCOUNTS].of_login(each).id for each in given.logins]
    if known is None:
        known = (await call.app[GROUPS].make(given.name, members, weight=given.weight, by=call.user)).id
    else:
        await call.app[GROUPS].change(known, given.name, members, weight=given.weight, by=call.user)
    shown = await people.show_group(call, known)
    if given.json:
        print_json(shown)
    else:
        print(f"{shown.name}: {len(shown.members)} in it, each with a share of {shown.weight}.")


def _show_members(found: Sequence[people.Member], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [("LOGIN", "NAME", "ROLE", "", "SECOND FACTOR", "TOKENS", "COST")]
    for each in found:
        used = each.used_this_month
        tokens, cost = f"{used.input_tokens + used.output_tokens:,}", f"${used.cost_micro_usd / 1_000_000:,.2f}"
        shut, second = "disabled" * each.is_disabled, "yes" if each.has_second_factor else "no"
        rows.append((each.login, each.name, each.role, shut, second, tokens, cost))
    print_table(rows)


def _show_invitations(found: Sequence[people.Invitation], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    rows = [(each.id, each.role, each.note, f"{each.ends_at.astimezone():%Y-%m-%d %H:%M}") for each in found]
    print_table([("ID", "ROLE", "FOR", "ENDS"), *rows])


def _show_groups(call: Call, found: Sequence[people.Group], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    logins = {each.id: each.login for each in call.app[ACCOUNTS].members()}
    rows = [(each.name, str(each.weight), ", ".join(sorted(logins[one] for one in each.members))) for each in found]
    print_table([("NAME", "SHARE", "MEMBERS"), *rows])

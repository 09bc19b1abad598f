"""A list of people to invite, as spreadsheets write it: all of it is right, or each wrong line is named. Pure."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping

from clawloops.errors import BadInput
from clawloops.model.account import Guest, Role
from clawloops.model.mail import is_address

MOST = 500
MOST_NAME = 80
_MOST_TOLD = 20  # wrong lines that are named
_SEPARATORS = ",;\t"  # Excel writes ";" where a comma stands in numbers
_HEADINGS = frozenset({"e-mail", "email", "mail", "e-mail address", "email address"})


def read(text: str, *, groups: Mapping[str, str], invited: Collection[str], by_mail: bool) -> list[Guest]:
    """Lines of name, e-mail, group and role; the last two may be left out, and an e-mail that nothing is sent to.

    `groups`: ids by name. `invited`: addresses that have an open invitation, in small letters.
    Raises BadInput for the field `list`, whose text has a line for each that is wrong.
    """
    rows = _rows(text.removeprefix("\ufeff"))
    if rows and len(rows[0][1]) > 1 and rows[0][1][1].lower() in _HEADINGS:
        del rows[0]
    if not rows:
        raise BadInput("The list is empty. Each line has a name and an e-mail address.", field="list")
    if len(rows) > MOST:
        raise BadInput(f"The list has {len(rows)} lines, and {MOST} fit at once. Send it in parts.", field="list")
    guests: list[Guest] = []
    wrong: list[str] = []
    seen: dict[str, int] = {}
    for number, cells in rows:
        try:
            guest = _guest(cells, groups, by_mail=by_mail)
            _check_new(guest, seen, invited)
        except BadInput as error:
            wrong.append(f"Line {number}: {error}.")
            continue
        guests.append(guest)
        seen[guest.email.lower()] = number
    if wrong:
        raise BadInput("\n".join(["Nobody was invited yet.", *_few(wrong)]), field="list")
    return guests


def _rows(text: str) -> list[tuple[int, list[str]]]:
    """Each line that has something in it, with its number."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=separator, strict=True, skipinitialspace=True)
    rows: list[tuple[int, list[str]]] = []
    try:
        for cells in reader:
            if any(each.strip() for each in cells):
                rows.append((reader.line_num, [each.strip() for each in cells]))
    except csv.Error as error:
        raise BadInput(f"Nobody was invited yet.\nLine {reader.line_num}: {error}.", field="list") from error
    return rows


def _guest(cells: list[str], groups: Mapping[str, str], *, by_mail: bool) -> Guest:
    """Raises BadInput with a reason that is no sentence."""
    if len(cells) > 4:
        raise BadInput(f"it has {len(cells)} parts; name, e-mail, group and role are four")
    name, email, group, role = [*cells, "", "", ""][:4]
    if "\ufffd" in "".join(cells):
        raise BadInput("it has letters that cannot be read; save the list as “CSV UTF-8”")
    if not 1 <= len(name) <= MOST_NAME or not name.isprintable():
        raise BadInput(f"it begins with no name of 1 to {MOST_NAME} characters")
    if email and not is_address(email):
        raise BadInput(f"{email[:80]!r} is no e-mail address")
    if by_mail and not email:
        raise BadInput("it has no e-mail address to send the link to")
    if group and group not in groups:
        raise BadInput(f"there is no group {group[:80]!r}")
    try:
        wanted = Role(role.lower() or Role.MEMBER)
    except ValueError:
        raise BadInput(f"{role[:80]!r} is no role; there are member, admin and viewer") from None
    if wanted is Role.OWNER:
        raise BadInput("there is one owner already")
    return Guest(name, wanted, groups[group] if group else None, email)


def _check_new(guest: Guest, seen: Mapping[str, int], invited: Collection[str]) -> None:
    """Raises BadInput as `_guest` does."""
    address = guest.email.lower()
    if address and address in seen:
        raise BadInput(f"the e-mail address stands in line {seen[address]}, too")
    if address in invited:
        raise BadInput(f"{guest.email} was invited already, and that link can still be used")


def _few(wrong: list[str]) -> list[str]:
    left = len(wrong) - _MOST_TOLD
    return wrong if left <= 0 else [*wrong[:_MOST_TOLD], f"And {left} more."]

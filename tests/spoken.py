"""What people may read, as it stands in the templates and in the code, to hold the catalogues of languages against."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from babel.messages import pofile
from jinja2.ext import babel_extract

ROOT = Path(__file__).parents[1]
OPTIONS = {
    "trimmed": "true",
    "silent": "false",
    "newstyle_gettext": "true",
    "trim_blocks": "true",
    "lstrip_blocks": "true",
}
REFUSALS = frozenset(
    {"BadInput", "NotSignedIn", "Forbidden", "NotFound", "Gone", "Conflict", "TooManyAttempts", "Unavailable"}
    | {"BackendUnavailable", "BackendRefused", "MailNotSent", "BadIssuer"}
)
"""Errors whose text a page shows."""

CONTEXT = "\4"
"""Stands between a message's context and itself, as in gettext's own files."""

Key = str | tuple[str, ...]

_VALUE = re.compile(r"\{\w*\}")
_NAMED = re.compile(r"%\((\w+)\)s")


def shape(message: str) -> str:
    """A message without the names of its values."""
    return _VALUE.sub("{}", message)


def values(message: str) -> set[str]:
    """The names of a message's values, a template's or the code's."""
    return set(_NAMED.findall(message)) or set(re.findall(r"\{(\w+)\}", message))


def of_templates(paths: list[Path] | None = None) -> dict[Key, str]:
    """Every message that is marked, with a template that it stands in. A counted one is both its forms."""
    found: dict[Key, str] = {}
    for path in paths or sorted((ROOT / "templates").rglob("*.html")):
        with path.open("rb") as file:
            for _, function, message, _ in babel_extract(file, ("_", "gettext", "ngettext", "pgettext"), [], OPTIONS):
                texts = tuple(str(each) for each in (message if isinstance(message, tuple) else (message,)))
                match function:  # what follows are its values
                    case "ngettext":
                        key: Key = texts[:2]
                    case "pgettext":
                        key = CONTEXT.join(texts[:2])
                    case _:
                        key = texts[0]
                found.setdefault(key, str(path.relative_to(ROOT)))
    return found


def of_code(folder: Path = ROOT / "clawloops") -> set[str]:
    """The shape of every text in the code."""
    nodes = (node for path in folder.rglob("*.py") for node in ast.walk(_tree(path)))
    texts = {text for node in nodes if (text := _text(node)) is not None}
    return texts | {text.strip(" :;,") for text in texts}  # pieces are said without what joins them


def refusals(path: Path) -> Iterator[tuple[int, str]]:
    """The shape of each refusal that a module raises, with its line."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Call) and node.args and _name(node.func) in REFUSALS:
            for part in (
                (node.args[0].body, node.args[0].orelse) if isinstance(node.args[0], ast.IfExp) else node.args[:1]
            ):
                if (text := _text(part)) is not None:
                    yield node.lineno, text


def messages(path: Path) -> dict[Key, tuple[str, ...]]:
    """What a catalogue says, by the English for it. A counted message is both its forms."""
    with path.open("rb") as file:
        catalogue = pofile.read_po(file, abort_invalid=True)
    found: dict[Key, tuple[str, ...]] = {}
    for each in catalogue:
        if isinstance(each.id, (list, tuple)):
            found[tuple(each.id)] = tuple(each.string or ())
        elif each.id:
            found[f"{each.context}{CONTEXT}{each.id}" if each.context else each.id] = (str(each.string),)
    return found


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.AST) -> str | None:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in parts)
    return None

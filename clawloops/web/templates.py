"""Jinja's templates in one language: what a page says in the same words each time is part of its compiled template."""

from __future__ import annotations

from pathlib import Path

import jinja2
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from clawloops.web.fields import plain
from clawloops.web.figures import day, dollars, duration, energy, iso, moment, number, size, took, within
from clawloops.web.languages import Language
from clawloops.web.states import sentence

_FILTERS = (number, duration, day, within, moment, iso, sentence, took, size, dollars, plain, energy)


def load_templates(folder: Path, language: Language) -> jinja2.Environment:
    """Autoescape, and a missing value is an error instead of an empty place. Each is compiled when it is first used."""
    environment = _Translated(
        loader=jinja2.FileSystemLoader(folder),
        auto_reload=False,
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.language = language
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(  # type: ignore[attr-defined]  # of the extension
        language.message, language.counted, newstyle=True, pgettext=language.meant
    )
    environment.filters.update({each.__name__: each for each in _FILTERS}, said=language.said)
    return environment


class _Translated(jinja2.Environment):
    language: Language

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """What both `compile` and the loaders go through."""
        parsed: nodes.Template = _Translation(self.language).visit(super()._parse(source, name, filename))
        return parsed


class _Translation(NodeTransformer):
    """Puts a message without values in its place, which is looked up, marked safe and escaped at each use otherwise.

    That was a third of the time in which a page is rendered. What a message comes to is what Jinja's "newstyle" gettext
    makes of it: safe, and with "%%" for a percent sign.
    """

    def __init__(self, language: Language) -> None:
        self._language = language

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # Jinja calls it by the name of the node
        self.generic_visit(node)
        match node:
            case nodes.Call(node=nodes.Name(name="_" | "gettext"), args=[nodes.Const(value=str(text))], kwargs=[]):
                said = self._language.message(text) % {}
                return nodes.MarkSafe(nodes.Const(said, lineno=node.lineno), lineno=node.lineno)
        return node

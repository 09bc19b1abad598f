"""One operation of the API: its declaration, and what its handler's own types say that it takes and gives."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_type_hints

from aiohttp import web

from clawloops.errors import BadInput
from clawloops.model.account import User
from clawloops.model.token import PersonalToken, TokenScope

ROOT = "/api/v1"
Handler = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, and the application that answers."""

    app: web.Application
    user: User
    token: PersonalToken


@dataclass(frozen=True)
class Operation:
    """`handler(call, …)` names what it takes: `body`, `query`, and whatever stands in braces in `path`."""

    method: str
    path: str  # below ROOT
    handler: Handler
    scope: TokenScope
    summary: str
    status: int = 200

    @property
    def address(self) -> str:
        return ROOT + self.path

    @property
    def name(self) -> str:
        """Unique among all: "get_workspaces_id_events"."""
        return "_".join([self.method.lower(), *re.findall(r"\w+", self.path)])

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.handler, include_extras=True)

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """The type of each place in the path."""
        return {name: self._hints[name] for name in re.findall(r"{(\w+)}", self.path)}

    @property
    def query(self) -> Any:
        """The type of the query, or None."""
        return self._hints.get("query")

    @property
    def body(self) -> Any:
        """The type of the body, or None."""
        return self._hints.get("body")

    @property
    def gives(self) -> Any:
        """The type of the answer; NoneType: nothing."""
        return self._hints["return"]

    @property
    def description(self) -> str:
        return inspect.cleandoc(self.handler.__doc__ or "")


@contextmanager
def fields_named(**names: str) -> Iterator[None]:
    """Tell of wrong fields by the names that the API has for them: `fields_named(group="name")`."""
    try:
        yield
    except BadInput as error:
        raise BadInput(str(error), field=names.get(error.field, error.field)) from error

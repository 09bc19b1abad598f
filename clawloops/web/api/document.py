"""The OpenAPI 3.1 document, generated from the declarations that calls are checked by."""

from __future__ import annotations

import ast
import http
import inspect
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from types import ModuleType, NoneType
from typing import Any

import msgspec

from clawloops import __version__
from clawloops.model.token import TokenScope
from clawloops.web.api.operation import ROOT, Operation
from clawloops.web.api.problems import Fault, Problem
from clawloops.web.api.shapes import Given, Shown
from clawloops.web.api.table import OPERATIONS
from clawloops.web.errors import PROBLEM

_TEMPLATE = "#/components/schemas/{name}"
_LIST = re.compile(rb"\bListed_(\w+?)_(?=\")")  # msgspec's name for Listed[Thing]
_ALWAYS = frozenset({400, 401, 403, 406, 429, 500, 503})
_MEANING = {
    400: "What was sent is not right; `errors` says where.",
    401: "No token, or one that does not hold (any more).",
    403: "The token does not open this, or its owner may not do it.",
    404: "There is no such thing, or not for you.",
    406: "Only JSON is answered.",
    409: "It does not fit how things are now.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too many wrong tokens came from this address.",
    500: "An error that was not foreseen.",
    503: "A part of the box does not answer; try again.",
}


@cache
def document() -> bytes:
    """As it is served."""
    return _LIST.sub(rb"\1List", msgspec.json.encode(described(OPERATIONS)))


def refusals_of(operation: Operation) -> frozenset[int]:
    """Every status besides its own that it may be answered with."""
    is_change = operation.method != "GET"
    may_miss = {404} if is_change or operation.parameters or operation.path.startswith("/workspace") else set()
    may_clash = {409} if is_change else set()
    with_body = {413, 415} if operation.body is not None else set()
    return frozenset(_ALWAYS | may_miss | may_clash | with_body)


def described(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document of these operations."""
    kinds = list(_kinds(operations))
    found, components = msgspec.json.schema_components(kinds, ref_template=_TEMPLATE)
    _add_notes(components)
    schemas = {repr(kind): schema for kind, schema in zip(kinds, found, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.address, {})[operation.method.lower()] = _operation(operation, schemas, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ClawLoops",
            "version": __version__,
            "description": f"What a program may do on this box in a member's name. Addresses begin with {ROOT}.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {str(status): _refusal(status) for status in _MEANING},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "clt_…",
                    "description": "A personal token, made under Your account. Scopes: " + ", ".join(TokenScope) + ".",
                }
            },
        },
    }


def _kinds(operations: Sequence[Operation]) -> Iterator[Any]:
    yield Problem
    for operation in operations:
        yield from operation.parameters.values()
        yield from (each for each in (operation.query, operation.body, operation.gives) if each not in (None, NoneType))


def _operation(operation: Operation, schemas: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.path.split("/")[1]],
        "summary": operation.summary,
        "security": [{"token": [operation.scope.value]}],
        "responses": {str(operation.status if operation.gives is not NoneType else 204): _answer(operation, schemas)},
    }
    if operation.description:
        told["description"] = operation.description
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": schemas[repr(kind)]}
        for name, kind in operation.parameters.items()
    ]
    if operation.query is not None:
        shape = components[operation.query.__name__]
        required = shape.get("required", ())
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": schema}
            for name, schema in shape["properties"].items()
        ]
    if parameters:
        told["parameters"] = parameters
    if operation.body is not None:
        content = {"application/json": {"schema": schemas[repr(operation.body)]}}
        told["requestBody"] = {"required": True, "content": content}
    for status in sorted(refusals_of(operation)):
        told["responses"][str(status)] = {"$ref": f"#/components/responses/{status}"}
    return told


def _refusal(status: int) -> dict[str, Any]:
    schema = {"$ref": _TEMPLATE.format(name=Problem.__name__)}
    return {"description": _MEANING[status], "content": {PROBLEM: {"schema": schema}}}


def _answer(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    if operation.gives is NoneType:
        return {"description": "It is done."}
    content = {"application/json": {"schema": schemas[repr(operation.gives)]}}
    return {"description": http.HTTPStatus(operation.status).phrase, "content": content}


def _add_notes(components: dict[str, Any]) -> None:
    """Say of each field what stands below it in its class."""
    notes: dict[type, dict[str, str]] = {}
    kinds = [*_below(Shown), *_below(Given), Problem, Fault]
    for module in {each.__module__ for each in kinds}:
        notes.update(_notes_in(sys.modules[module]))
    for kind in kinds:
        if kind.__name__ in components:
            fields = components[kind.__name__]["properties"]
            for each in reversed(kind.__mro__):  # what it builds on first
                for name, note in notes.get(each, {}).items():
                    fields[name] = {**fields[name], "description": note}


def _below(kind: type) -> Iterator[type]:
    each: type
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def _notes_in(module: ModuleType) -> Iterator[tuple[type, dict[str, str]]]:
    """The classes of a module, each with its fields that have a text below them."""
    for found in ast.parse(inspect.getsource(module)).body:
        if isinstance(found, ast.ClassDef):
            notes = {}
            for field, below in itertools.pairwise(found.body):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        notes[name] = " ".join(text.split())
            yield getattr(module, found.name), notes

"""The OpenAPI document: valid 3.1, about every operation, and as it is served."""

from __future__ import annotations

import json

import schemathesis

from clawloops.model.token import TokenScope
from clawloops.web.api.document import document
from clawloops.web.api.table import OPERATIONS
from tests.web.api.program import ask
from tests.web.box import Box


async def test_the_document_is_open_to_tools_and_valid(box: Box) -> None:
    answer = await ask(box, "GET", "/openapi.json")
    assert answer.status == 200 and answer.body == json.loads(document())
    schemathesis.openapi.from_dict(answer.body).validate()
    assert answer.body["openapi"] == "3.1.0"


def test_it_is_about_every_operation_with_its_scope_and_no_other() -> None:
    told = {
        (method.upper(), path): operation["security"]
        for path, those in json.loads(document())["paths"].items()
        for method, operation in those.items()
    }
    assert told == {(each.method, each.address): [{"token": [each.scope.value]}] for each in OPERATIONS}
    assert {each.scope for each in OPERATIONS} == set(TokenScope), "a scope that opens nothing"


def test_it_says_of_fields_what_the_code_says_of_them() -> None:
    schemas = json.loads(document())["components"]["schemas"]
    assert schemas["Workspace"]["properties"]["address"]["description"] == "Where its member opens it in a browser."
    assert schemas["Trashed"]["properties"]["bytes"]["description"] == "0 where nobody measured it."
    assert schemas["GroupWanted"]["additionalProperties"] is False, "what nobody knows is refused"
    assert schemas["UsedKeyList"]["required"] == ["items", "next_cursor"]

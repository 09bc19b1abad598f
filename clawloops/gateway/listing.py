"""The public names, as each dialect lists models. Pure.

Formats: `/v1/models` of OpenAI's and of Anthropic's API reference, `/api/tags` and `/api/show` of Ollama's docs/api.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from clawloops.errors import BadInput
from clawloops.gateway.endpoints import Dialect
from clawloops.model.provider import Model

OLLAMA_VERSION = "0.17.4"  # the one whose dialect this is; tools ask before they use a field
_Answer = dict[str, Any]


def of_all(models: Sequence[Model], dialect: Dialect) -> _Answer:
    listed = [of_one(each, dialect) for each in models]
    match dialect:
        case Dialect.OPENAI:
            return {"object": "list", "data": listed}
        case Dialect.ANTHROPIC:
            ends = {"first_id": models[0].name, "last_id": models[-1].name} if models else {}
            return {"data": listed, "has_more": False, "first_id": None, "last_id": None, **ends}
        case Dialect.OLLAMA:
            return {"models": listed}


def of_one(model: Model, dialect: Dialect) -> _Answer:
    match dialect:
        case Dialect.OPENAI:
            return {
                "id": model.name, "object": "model", "created": model.created_at // 1000, "owned_by": "clawloops",
            }  # fmt: skip
        case Dialect.ANTHROPIC:
            return {"type": "model", "id": model.name, "display_name": model.name, "created_at": _time(model)}
        case Dialect.OLLAMA:
            # Size and digest are of files that nobody here has; the fields are there because tools read them.
            return {
                "name": model.name, "model": model.name, "modified_at": _time(model), "size": 0, "digest": "",
                "details": _DETAILS,
            }  # fmt: skip


def shown(model: Model) -> _Answer:
    """Ollama's `/api/show`, as far as it concerns somebody who uses the model."""
    return {
        "details": _DETAILS,
        "model_info": {"general.architecture": "clawloops", "clawloops.context_length": model.context_window},
        "capabilities": ["completion", "tools"],
        "modified_at": _time(model),
    }


_DETAILS = {"format": "", "family": "", "families": [], "parameter_size": "", "quantization_level": ""}


def asked(raw: bytes) -> str:
    """The name in the body of `/api/show`. Raises BadInput."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"The body is not valid JSON: {error}") from error
    name = (body.get("model") or body.get("name")) if isinstance(body, dict) else None
    if not isinstance(name, str) or not name:
        raise BadInput("'model' must be one public model name; GET /api/tags lists them.", field="model")
    return name


def _time(model: Model) -> str:
    return datetime.fromtimestamp(model.created_at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""The forwarded body: rebuilt from a list of known fields, so that nothing a caller adds can redirect a call.

A field outside the list is refused by name, never dropped in silence (`endpoints.py` says which are the admin's).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from clawloops.errors import BadInput
from clawloops.gateway.contents import images_in, refuse_remote
from clawloops.gateway.endpoints import SAMPLING_OPTIONS, STATEFUL, Endpoint, Usage

# Words that make an unknown field look like an attempt to bring one's own key, address or identity (security.md, 18).
_CREDENTIAL = (
    *("key", "token", "secret", "credential", "auth", "password", "header", "base", "url", "endpoint", "host"),
    *("organization", "project", "user_config", "extra_body", "model_list", "aws", "vertex", "azure", "fallbacks"),
    *("mcp", "container"),
)
_ANSWERS = range(1, 17)  # to one prompt
_TOKENS = range(-2, 2**31)
_STREAM_OPTIONS = frozenset(("include_usage", "include_obfuscation"))


@dataclass(slots=True)
class Body:
    """A call that may be forwarded, once its `model` is known to be allowed."""

    endpoint: Endpoint
    model: str  # the public name that the caller asked for
    fields: dict[str, Any]
    stream: bool
    size: int = 0  # bytes, images left out
    images: int = 0
    answers: int = 1  # how many are asked for at once
    named: Mapping[str, int] = field(default_factory=dict)  # limits of each answer that it names, tokens by field
    limit: int = 0  # the gateway's own; 0: none

    @property
    def hide_usage(self) -> bool:
        """Whether we ask for the usage of a stream, and the caller did not."""
        options = self.fields.get("stream_options")
        return self._asks and not (options and options.get("include_usage"))

    @property
    def _asks(self) -> bool:
        return self.stream and self.endpoint.usage is Usage.CHAT

    def most_output(self, longest: int) -> int:
        """Tokens that its answers may have together, none more than `longest`; 0 for a call that makes none."""
        if not self.endpoint.longest:
            return 0
        return min(max(self.named.values(), default=longest), self.limit or longest, longest) * self.answers

    def cap(self, most: int) -> None:
        """Ask for answers of so many tokens at most, together."""
        self.limit = max(1, most // self.answers)

    def _limited(self, limit_in: str) -> dict[str, Any]:
        """The fields with its limit in them: where it names one, else (or where no other is heeded) in `limit_in`."""
        limits: dict[str, Any] = {name: min(value, self.limit) for name, value in self.named.items()}
        if not limits or limit_in not in (*limits, self.endpoint.longest[0]):
            limits = {limit_in: min(limits.values(), default=self.limit)}
        if self.endpoint.usage is Usage.LINES:
            return {**self.fields, "options": {**(self.fields.get("options") or {}), **limits}}
        fields = {name: value for name, value in self.fields.items() if name not in self.endpoint.longest}
        thinking = fields.get("thinking")
        if isinstance(thinking, dict) and isinstance(budget := thinking.get("budget_tokens"), int):
            least, most = 1024, limits[limit_in] - 1 if limit_in in limits else budget  # Anthropic's own bounds
            fields["thinking"] = {**thinking, "budget_tokens": min(budget, most)}
            if most < least:
                del fields["thinking"]
        return {**fields, **limits}

    def forwarded(self, model: str, extra: Mapping[str, str], *, limit_in: str = "") -> bytes:
        """The JSON for the upstream, with its own name for the model and `extra` fields of the gateway's own.

        `limit_in`: the field in which this backend heeds a limit. Raises BadInput when it is nested deeper than can be
        written.
        """
        fields = {**(self._limited(limit_in) if self.limit else self.fields), "model": model, **extra}
        if self._asks:
            fields["stream_options"] = {**(self.fields.get("stream_options") or {}), "include_usage": True}
        try:
            return orjson.dumps(fields)
        except orjson.JSONEncodeError as error:
            raise BadInput("The body is nested too deeply; 250 levels are the most.") from error


def rebuild(endpoint: Endpoint, raw: bytes) -> Body:
    """Read the body of a call. Raises BadInput that names the field.

    Parsed once and written anew: of duplicate keys only the value that was checked goes on.
    """
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadInput(f"The body is not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadInput("The body must be a JSON object.")
    if endpoint.left_out:
        fields = {name: value for name, value in fields.items() if name not in endpoint.left_out}
    if endpoint.usage is Usage.RESPONSES:
        fields = _without_state(fields)
    _refuse_unknown(endpoint, fields)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise BadInput("'model' must be one public model name; GET /v1/models lists them.", field="model")
    stream = fields.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise BadInput("'stream' must be true or false.", field="stream")
    options = fields.get("stream_options")
    if options is not None and (not isinstance(options, dict) or not options.keys() <= _STREAM_OPTIONS):
        raise BadInput("'stream_options' may hold include_usage and include_obfuscation.", field="stream_options")
    if endpoint.usage is Usage.LINES and "options" in fields:
        fields["options"] = _sampling(fields["options"])
    _refuse_odd_numbers(endpoint, fields)
    refuse_remote(endpoint.usage, fields)
    images, characters = images_in(endpoint.usage, fields)
    return Body(
        endpoint,
        model,
        fields,
        stream=endpoint.streams_unasked if stream is None else stream,
        size=max(0, len(raw) - characters),
        images=images,
        answers=_answers(endpoint, fields),
        named=_limits(endpoint, fields),
    )


def _answers(endpoint: Endpoint, fields: dict[str, Any]) -> int:
    prompt = fields.get("prompt") if endpoint.usage is Usage.CHAT else None
    several = isinstance(prompt, list) and bool(prompt) and not isinstance(prompt[0], int)
    prompts = len(prompt) if several and isinstance(prompt, list) else 1
    return prompts * max(fields.get("n") or 1, fields.get("best_of") or 1)


def _limits(endpoint: Endpoint, fields: dict[str, Any]) -> dict[str, int]:
    """What is below 0 means none."""
    if endpoint.usage is Usage.LINES:
        fields = fields.get("options") or {}
    return {name: value for name in endpoint.longest if (value := fields.get(name)) is not None and value >= 0}


def _refuse_odd_numbers(endpoint: Endpoint, fields: dict[str, Any]) -> None:
    """What says how much is to be answered is a whole number: a budget reckons with it. Below 0 it means no limit."""
    options = fields.get("options") if endpoint.usage is Usage.LINES else fields
    for name in endpoint.longest:
        if options and name in options:
            _whole(options, name, _TOKENS, "must be a whole number of tokens.")
    for name in ("n", "best_of"):
        if name in fields:
            _whole(fields, name, _ANSWERS, f"must be a whole number from 1 to {_ANSWERS[-1]}.")


def _whole(fields: dict[str, Any], name: str, allowed: range, refusal: str) -> None:
    value = fields[name]
    if isinstance(value, float) and value.is_integer():
        value = fields[name] = int(value)
    if value is not None and (type(value) is not int or value not in allowed):
        raise BadInput(f"'{name}' {refusal}", field=name)


def _without_state(fields: dict[str, Any]) -> dict[str, Any]:
    """The same call with nothing kept by the provider: its key is everybody's, and so would be what it keeps."""
    for name in sorted(STATEFUL & fields.keys()):
        if fields[name]:
            raise BadInput(
                f"'{name}' is not allowed: nothing is kept behind the gateway. Send the whole conversation in 'input'.",
                field=name,
            )
    if fields.get("store"):
        raise BadInput("'store' must be false: answers are not kept behind the gateway.", field="store")
    return {**{name: value for name, value in fields.items() if name not in STATEFUL}, "store": False}


def _sampling(options: object) -> dict[str, Any]:
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise BadInput("'options' must be an object.", field="options")
    return {name: value for name, value in options.items() if name in SAMPLING_OPTIONS}


def _refuse_unknown(endpoint: Endpoint, fields: dict[str, Any]) -> None:
    unknown = fields.keys() - endpoint.fields
    if not unknown:
        return
    name = min(unknown)
    for each in sorted(unknown):
        if any(word in each.lower() for word in _CREDENTIAL):
            raise BadInput(
                f"'{each[:100]}' is not allowed: keys, addresses and headers of model backends are set by the admin.",
                field=each[:100],
            )
    raise BadInput(f"Unknown field '{name[:100]}' for {endpoint.path}; leave it out.", field=name[:100])

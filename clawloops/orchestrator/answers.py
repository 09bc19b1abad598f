"""Reading OpenClaw's answers: pure, and for whatever a hostile runtime may send. What does not fit is no answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from clawloops.errors import Unavailable

_MAX_WORDS = 160
_LATEST = 4_102_444_800_000  # the year 2100, in Unix ms
_UPKEEP = ("heartbeat:", "memory-core:", "skill-collection-review:")
_BLOCKERS = {
    "queue": "an operation is queued or active",
    "reply": "a reply is being delivered",
    "embedded-run": "a turn is running",
    "background-exec": "a background command is running",
    "cron-run": "a scheduled job is running",
    "task": "a background task is running",
    "root-request": "a request is being worked on",
    "session-admission": "a turn is about to begin",
    "session-mutation": "a conversation is being changed",
    "chat-run": "a turn is running",
    "queued-turn": "a turn is waiting",
    "terminal-persistence": "a conversation is being saved",
    "terminal-session": "a terminal is open",
}
"""Kinds of work that OpenClaw names (its docs/gateway/external-apps.md), as a person would say it."""


class Refusal(Unavailable):
    """OpenClaw answered, and said no."""


def words(text: object, limit: int = _MAX_WORDS) -> str:
    """One short line out of whatever was sent, safe to log and to show as text."""
    line = "".join(each if each.isprintable() else " " for each in text[: 4 * limit]) if isinstance(text, str) else ""
    line = " ".join(line.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def payload_of(method: str, body: bytes) -> dict[str, Any]:
    """The `payload` of a good answer. Raises Refusal, and Unavailable for anything that is no answer at all."""
    try:
        answer = orjson.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        payload, error = answer.get("payload"), answer.get("error")
        if answer.get("ok") is True and isinstance(payload, dict):
            return payload
        if answer.get("ok") is False and isinstance(error, dict):
            raise Refusal(f"OpenClaw refused {method}: {words(error.get('message')) or 'it does not say why'}")
    raise Unavailable(f"OpenClaw's answer to {method} is not understood.")


def blockers(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """What keeps it busy, each kind of work once."""
    said = (
        _BLOCKERS.get(str(each.get("kind"))) or words(each.get("message"), 80)
        for each in _dicts(answer.get("blockers"))
    )
    found = tuple(dict.fromkeys(each for each in said if each))
    return found[:8] or ("something is going on",)


def own_jobs(answer: Mapping[str, Any]) -> Iterator[int]:
    """When each job that is not OpenClaw's own upkeep is due, Unix ms. Raises Unavailable when there is no list."""
    if not isinstance(answer.get("jobs"), list):
        raise Unavailable("OpenClaw gave no list of its scheduled jobs.")
    for job in _dicts(answer["jobs"]):
        at, key = job.get("nextRunAtMs"), job.get("declarationKey")
        if isinstance(key, str) and key.startswith(_UPKEEP):
            continue
        if isinstance(at, int | float) and not isinstance(at, bool) and 0 < at < _LATEST:
            yield int(at)


def polling_channels(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the channels of which an account is set up and is not called by a webhook. Raises Unavailable."""
    accounts, labels = answer.get("channelAccounts"), answer.get("channelLabels")
    if not isinstance(accounts, dict):
        raise Unavailable("OpenClaw gave no list of its channels.")
    names = labels if isinstance(labels, dict) else {}
    found = [
        words(names.get(channel), 40) or words(channel, 40)
        for channel, listed in accounts.items()
        if any(_polls(each) for each in _dicts(listed))
    ]
    return tuple(sorted(each for each in found if each))[:32]


def _polls(account: Mapping[str, Any]) -> bool:
    if account.get("running") is True:
        return account.get("mode") != "webhook"
    # One that is down for the moment is started again by OpenClaw, but not while it is frozen.
    usable = account.get("enabled") is not False and account.get("configured") is True
    return usable and account.get("mode") != "webhook" and not account.get("webhookPath")


def run_result(answer: Mapping[str, Any]) -> str | None:
    """How the latest run ended: None not yet, "" well, else why not."""
    for run in _dicts(answer.get("entries")):
        if run.get("action") == "finished":
            good = run.get("status") == "ok" and bool(words(run.get("summary")))
            return "" if good else words(run.get("error")) or "the model gave no answer"
    return None


def _dicts(listed: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(listed, list):
        yield from (each for each in listed if isinstance(each, dict))

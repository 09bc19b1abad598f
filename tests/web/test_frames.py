"""Which frames and requests of a page are a person's: all but what an open page was seen to send by itself."""

from __future__ import annotations

import json

import pytest

from clawloops.web.frames import Meaning, is_activity, is_quiet, meaning, refusal, tick


def _request(method: str, **params: object) -> bytes:
    return json.dumps({"type": "req", "id": "42:588c8e76", "method": method, "params": params}).encode()


def test_what_an_idle_page_sends_is_no_activity() -> None:
    assert meaning(_request("sessions.catalog.list", limitPerHost=40), text=True) is Meaning.POLL
    assert meaning(_request("agent.identity.get"), text=True) is Meaning.POLL
    assert meaning(_request("sessions.observer.visibility", visible=False), text=True) is Meaning.NOTE


@pytest.mark.attacks(20)
def test_a_note_too_large_to_be_kept_over_a_pause_is_taken_for_a_person() -> None:
    assert meaning(_request("sessions.observer.visibility", pad="x" * 5000), text=True) is Meaning.PERSON


def test_what_a_person_does_is_activity() -> None:
    for method in ("chat.send", "chat.abort", "sessions.patch", "chat.history", "brand.new"):
        assert is_activity(_request(method), text=True)
    assert is_activity(b"\x00\x01", text=False)
    assert is_activity(b"no request at all", text=True)


@pytest.mark.attacks(20)
def test_only_the_head_is_read_and_a_message_cannot_pass_for_a_poll() -> None:
    huge = _request("chat.send", message="x" * 20_000_000)
    assert is_activity(huge, text=True)
    assert is_activity(_request("chat.send", message='"method":"agent.identity.get"'), text=True)
    assert is_activity(b" " * 600 + _request("agent.identity.get"), text=True)


def test_a_refusal_is_openclaws_own() -> None:
    answer = json.loads(refusal(_request("logs.tail", cursor=7), retry_after_s=20) or b"")
    assert (answer["type"], answer["id"], answer["ok"]) == ("res", "42:588c8e76", False)
    assert answer["error"] == {
        "code": "UNAVAILABLE",
        "message": "logs.tail unavailable during gateway suspension",
        "retryable": True,
        "retryAfterMs": 20_000,
        "details": {"method": "logs.tail", "reason": "gateway-suspending", "phase": "prepared"},
    }
    assert refusal(b'{"type":"req","method":"logs.tail"}', retry_after_s=1) is None
    assert refusal(b"", retry_after_s=1) is None


def test_a_tick_leaves_no_gap_in_the_numbering() -> None:
    assert json.loads(tick(7)) == {"type": "event", "event": "tick", "payload": {"ts": 7}}


def test_what_an_open_page_fetches_by_itself() -> None:
    assert is_quiet("GET", "/sw.js?v=2026.9.6") and is_quiet("HEAD", "/favicon-32.png")
    assert is_quiet("GET", "/api/users/91ea921e/avatar?v=1") and is_quiet("GET", "/api/users/91ea921e/avatar")
    for uri in ("/", "/chat", "/api/users/a/b/avatar", "/api/users/a/avatar/x", "/sw.js/x", "/x/sw.js"):
        assert not is_quiet("GET", uri), uri
    assert not is_quiet("POST", "/sw.js")

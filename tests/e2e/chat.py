"""OpenClaw's Control UI, as its page is built in 2026.9.6: the composer, the conversation, and what streams into it."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

from playwright.sync_api import Locator, Page, expect

ANSWERS = ".chat-group.assistant .chat-bubble .chat-text"

# Notes each growth of what this finds, an answer, with the time since the message was sent.
_WATCH = """(answer) => {
  const started = performance.now();
  window.__clawloopsGrowth = [];
  let last = 0;
  const look = () => {
    const shown = document.evaluate(`(${answer})[last()]`, document, null, XPathResult.FIRST_ORDERED_NODE_TYPE);
    if (shown.singleNodeValue === null) return;
    const length = shown.singleNodeValue.innerText.trim().length;
    if (length > last) { last = length; window.__clawloopsGrowth.push([performance.now() - started, length]); }
  };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
}"""


def _is(name: str) -> str:
    return f"contains(concat(' ', @class, ' '), ' {name} ')"


def _answer_to(text: str) -> str:
    """The XPath of what follows this message. A page that reads a conversation anew shows fewer or more bubbles of
    the same answers for a moment, so that their number says nothing."""
    asked = f"//*[{_is('chat-group')}][{_is('user')}][contains(., '{text}')]"
    return f"{asked}/following::*[{_is('chat-text')}][ancestor::*[{_is('assistant')}]]"


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    first_ms: float  # from send to the first text on the page
    growths: int  # how many times the page showed more of it


class Chat:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.composer = page.get_by_role("textbox", name="Chat composer")
        self.log = page.get_by_role("log").first
        self._asked = itertools.count(1)

    def wait_until_usable(self, limit_s: float) -> None:
        """Until a message can be typed and sent. No token and no pairing may be asked for on the way."""
        expect(self.composer).to_be_editable(timeout=limit_s * 1000)
        expect(self.page.get_by_text("Connected", exact=True).first).to_be_attached(timeout=limit_s * 1000)
        for asked in ("Gateway token", "pairing required", "Pairing code", "Approve this device"):
            expect(self.page.get_by_text(asked)).to_have_count(0)

    def wait_until_back(self, limit_s: float) -> None:
        """As above, for a conversation that has answers already: they come in after the page says "Connected"."""
        self.wait_until_usable(limit_s)
        expect(self.page.locator(ANSWERS).first).to_be_visible(timeout=limit_s * 1000)
        expect(self.page.get_by_label("Loading chat")).to_have_count(0)

    def send(self, text: str) -> None:
        self.composer.fill(text)
        button = self.page.get_by_role("button", name="Send message")
        expect(button).to_be_enabled(timeout=10_000)
        self.page.evaluate(_WATCH, _answer_to(text))
        button.click()

    def ask(self, text: str, limit_s: float) -> Answer:
        """Sends a message and waits for the whole answer."""
        text = f"{text} (Question {next(self._asked)}.)"
        self.send(text)
        answer = self.answer_to(text)
        expect(answer).to_be_visible(timeout=limit_s * 1000)
        expect(self.log).to_contain_text("output tokens", timeout=limit_s * 1000)
        self._until_still(answer.inner_text, limit_s)
        growth: list[list[float]] = self.page.evaluate("window.__clawloopsGrowth")
        return Answer(text=answer.inner_text().strip(), first_ms=growth[0][0], growths=len(growth))

    def answer_to(self, text: str) -> Locator:
        """The last of what followed a message."""
        return self.page.locator(f"xpath={_answer_to(text)}").last

    @staticmethod
    def _until_still(read: object, limit_s: float) -> None:
        assert callable(read)
        until = time.monotonic() + limit_s
        last, since = read(), time.monotonic()
        while time.monotonic() < until and time.monotonic() - since < 1.5:
            time.sleep(0.2)
            if (now := read()) != last:
                last, since = now, time.monotonic()

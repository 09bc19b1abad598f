"""Finds what a page in another language still says in English."""

from __future__ import annotations

import re
from functools import cache

from playwright.async_api import Page

from clawloops.web.languages import FOLDER
from tests import spoken

# What is read, seen or heard: texts, labels and hints; no samples, no addresses, nothing in no language or in its own.
_TEXTS = """() => {
  const own = "code, pre, script, style, textarea, address, [lang]:not(html), [translate=no]";
  const texts = [];
  const walk = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) if (!walk.currentNode.parentElement.closest(own)) texts.push(walk.currentNode.data);
  for (const each of document.querySelectorAll("[aria-label], [title], [placeholder], [data-busy]"))
    for (const name of ["aria-label", "title", "placeholder", "data-busy"]) texts.push(each.getAttribute(name) ?? "");
  return texts.map(each => each.replace(/\\s+/g, " ").trim()).filter(each => each);
}"""
_WORDS = re.compile(r"(?<![\w./:@{-])[A-Za-z][A-Za-z'\u2019]*(?:[, ] ?[A-Za-z'\u2019]+(?![\w./:@}-]))*")
_TYPED = (
    # people and what they call things
    r"Ken, design team|Design team, member|Claude Code on the laptop|Backup script on the NAS|Before the big|gone|"
    r"Grace asked me to look at a failing job|Grace is ill, and a customer waits for the report|"
    r"The agent sends odd mail|To see why it burns tokens|"
    # programs, and what is typed for them
    r"Name or service not known|file does not|nobody of that name is here|NVIDIA GeForce RTX|ClawLoops authority for|"
    r"docker compose logs litellm|docker system df|admin|member|viewer|certificate|install|run|"
    r"Authorization|Issuer|Scopes"
)
"""What the scenes' people and programs said, in words of their own."""
_LONG = 3  # words that can be no name


async def left_on(page: Page) -> list[str]:
    """Sentences, and shorter texts that the catalogue has a message for."""
    texts: list[str] = await page.evaluate(_TEXTS)
    runs = {run for text in texts for run in _WORDS.findall(text) if not re.fullmatch(_TYPED, run)}
    return sorted(run for run in runs if len(run.split()) >= _LONG or run in _messages())


@cache
def _messages() -> frozenset[str]:
    """Those that are not the same in Chinese."""
    known = spoken.messages(FOLDER / "zh-Hans.po").items()
    return frozenset(each for each, said in known if isinstance(each, str) and said != (each,))

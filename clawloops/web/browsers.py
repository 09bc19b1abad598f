"""What a browser calls itself, in words by which its owner recognises it. Nothing is decided by it."""

from __future__ import annotations

from aiohttp import hdrs, web

# The first that is named counts: most of them name others, too.
_BROWSERS = (
    ("Edg", "Edge"), ("OPR/", "Opera"), ("Vivaldi", "Vivaldi"), ("Firefox", "Firefox"), ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"), ("Chrome", "Chrome"), ("Safari", "Safari"),
)  # fmt: skip
_SYSTEMS = (
    ("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("CrOS", "ChromeOS"), ("Windows", "Windows"),
    ("Mac OS X", "macOS"), ("Linux", "Linux"),
)  # fmt: skip


def browser_of(request: web.Request) -> str:
    """For example "Firefox on Linux"; "A program" for what is no browser that we know."""
    text = request.headers.get(hdrs.USER_AGENT, "")
    browser = next((name for mark, name in _BROWSERS if mark in text), "A program")
    system = next((name for mark, name in _SYSTEMS if mark in text), "")
    return f"{browser} on {system}" if system else browser

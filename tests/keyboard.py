"""Working a page with Tab, letters, Enter and Space alone: what has the focus, and whether anybody sees it."""

from __future__ import annotations

MOST_TABS = 60
FOCUSED = """() => {
    const at = document.activeElement, box = at.getBoundingClientRect(), style = getComputedStyle(at);
    const name = at.getAttribute("aria-label") || (at.labels?.length ? at.labels[0].innerText : at.innerText) || "";
    return [at.tagName.toLowerCase(), name.trim(), box.width > 0 && box.height > 0,
            style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
}"""

Focus = tuple[str, str, bool, bool]


class Way:
    """From one thing to another by Tab; the focus has to be seen on whatever has it on the way."""

    def __init__(self, kind: str, name: str) -> None:
        self._kind = kind
        self._name = name
        self._passed: list[str] = []

    def ends(self, focus: Focus) -> bool:
        """Whether that is it. Raises AssertionError where nobody sees the focus, and where it leads nowhere."""
        tag, named, is_there, is_seen = focus
        if tag != "body":
            assert is_there and is_seen, f"nobody sees that the focus is on the {tag} {named!r}"
        if tag == self._kind and named.startswith(self._name):
            return True
        self._passed.append(f"{tag} {named!r}")
        where = f"{MOST_TABS} times Tab do not lead to the {self._kind} {self._name!r}, but to {self._passed}"
        assert len(self._passed) < MOST_TABS, where
        return False

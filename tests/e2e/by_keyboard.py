"""What people do on ClawLoops' own pages without a mouse: Tab, letters, Enter and Space alone."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.e2e.dashboard import Account, Dashboard
from tests.keyboard import FOCUSED, Way


class ByKeyboard(Dashboard):
    """Whoever makes the box theirs so goes through its first steps, one after the other."""

    def join(self, link: str, account: Account) -> None:
        assert self.visit(link) == 200
        self.write("Your name", account.name)
        self.write("Login", account.login)
        self.write("Password", account.password)
        self.send()
        self._greeted(account)

    def give_password(self, account: Account) -> None:
        self.visit("/sign-in")
        self.write("Login", account.login)
        self.write("Password", account.password)
        self.send()

    def sign_out(self) -> None:
        self.press("Sign out")
        expect(self.page.get_by_role("heading", name="Sign in")).to_be_visible()

    def _prove(self) -> None:
        self.write("Your password", self._password)
        self.send()

    def connect(self, kind: str, **values: str) -> None:
        if self.page.get_by_role("button", name="Skip this step: You, the admin").is_visible():
            self.press("Skip this step: You, the admin", key="Space")
            expect(self.page.locator("#model[aria-current=step]")).to_be_visible()
        else:
            self.prove()
            self.visit("/models")
        if self.kind(kind).get_attribute("open") is None:
            self.reach("summary", kind)
            self.page.keyboard.press("Space")
        for name, value in values.items():
            label = self.kind(kind).locator("label").filter(has=self.page.locator(f":scope ~ input[name={name}]"))
            self.write(label.inner_text(), value)
        self.press("Check and connect")

    def expect_model(self, name: str) -> None:
        """A first one is asked for a word, too."""
        if "/first-run" not in self.page.url:
            super().expect_model(name)
            return
        self.press("Ask it for a word", key="Space")
        expect(self.page.locator("#said.good")).to_contain_text(f"{name}, after")
        assert self._focused() == ["a", "Go on"], "the next thing to press has the focus"
        self.press("Go on", kind="a")
        expect(self.page.locator("#invite[aria-current=step]")).to_be_visible()

    def invite(self, note: str) -> str:
        self.visit("/first-run")
        if not self.page.locator("#invite[aria-current=step]").is_visible():
            return super().invite(note)
        self.write("For whom", note)
        self.send()
        link = self.shown_once("Invitation link")
        assert self._focused() == ["button", "Copy"], "the next thing to press has the focus"
        self.press("Go on", kind="a")
        expect(self.page.get_by_role("heading", name="That was all")).to_be_visible()
        return link

    def open_workspace(self) -> None:
        self.visit("/")
        self.press(self.page.get_by_role("button", name=re.compile("Open workspace|Try again")).inner_text())

    # --- the keys

    def reach(self, kind: str, name: str) -> None:
        """Tab until it has the focus."""
        way = Way(kind, name)
        while not way.ends(self.page.evaluate(FOCUSED)):
            self.page.keyboard.press("Tab")

    def write(self, name: str, text: str) -> None:
        self.reach("input", name)
        self.page.keyboard.type(text)

    def press(self, name: str, *, kind: str = "button", key: str = "Enter") -> None:
        """And wait until the page that it leads to is there."""
        self.reach(kind, name)
        self.send(key)

    def send(self, key: str = "Enter") -> None:
        """The same from where the focus is."""
        with self.page.expect_navigation():
            self.page.keyboard.press(key)

    def _focused(self) -> list[str]:
        focused: list[str] = self.page.evaluate(FOCUSED)
        return focused[:2]

"""What people do on ClawLoops' own pages, by the words that stand on them."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass

from playwright.sync_api import Error, Locator, Page, expect
from playwright.sync_api import TimeoutError as TooLate

_STAGES = """() => [...document.querySelectorAll("#stages li")]
  .map(li => li.className.split(" ")[0] + ":" + li.querySelector("strong").innerText).join(" ")"""


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    login: str
    password: str


class Dashboard:
    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self._password = ""
        # Whatever is dangerous asks for the password once more, ten minutes after the last time. When that falls due
        # depends on how long the tests before took, so it is answered wherever it comes up, as a person would.
        page.add_locator_handler(page.get_by_role("heading", name="Is it you?"), self._prove)

    def visit(self, path: str) -> int:
        """Opens a page and returns its HTTP status."""
        answer = self.page.goto(path if path.startswith("http") else self.origin + path)
        assert answer is not None
        return answer.status

    def visit_soon(self, path: str, *, limit_s: float) -> None:
        """Opens a page as soon as there is somebody to answer: until then Traefik's answer is no page at all."""
        until = time.monotonic() + limit_s
        while True:
            try:
                if self.visit(path) == 200:
                    return
            except Error:
                pass
            assert time.monotonic() < until, f"{path} was not answered within {limit_s:.0f} s"
            time.sleep(0.5)

    def join(self, link: str, account: Account) -> None:
        """Makes an account with a one-time link, and stands on the first page then."""
        assert self.visit(link) == 200
        self.page.get_by_label("Your name").fill(account.name)
        self.page.get_by_label("Login").fill(account.login)
        self.page.get_by_label("Password").fill(account.password)
        self.page.get_by_role("button", name=re.compile("Become the owner|Join")).click()
        self._greeted(account)

    def sign_out(self) -> None:
        self.page.get_by_role("button", name="Sign out").click()
        expect(self.page.get_by_role("heading", name="Sign in")).to_be_visible()

    def sign_in(self, account: Account) -> None:
        self.give_password(account)
        self._greeted(account)

    def give_password(self, account: Account) -> None:
        """The first step of signing in, and the whole of it without a second factor."""
        self.visit("/sign-in")
        self.page.get_by_label("Login").fill(account.login)
        self.page.get_by_label("Password").fill(account.password)
        self.page.get_by_role("button", name="Sign in", exact=True).click()

    def _greeted(self, account: Account) -> None:
        expect(self.page.get_by_role("heading", name=f"Hello, {account.name}")).to_be_visible()
        self._password = account.password

    def _prove(self) -> None:
        self.page.get_by_label("Your password").fill(self._password)
        self.page.get_by_role("button", name="Go on", exact=True).click()

    def prove(self) -> None:
        """Before a form with a secret, which has to be typed again when somebody is asked in between who they are."""
        self.visit("/account")
        self.page.get_by_role("button", name="Add a passkey").click()
        expect(self.page.get_by_role("heading", name="Add a passkey")).to_be_visible()

    # --- models

    def connect(self, kind: str, **values: str) -> None:
        """Fills one of the forms of the models page and sends it. `values` by the names of the fields."""
        self.prove()
        self.visit("/models")
        form = self.kind(kind)
        if form.get_attribute("open") is None:
            form.locator("summary").click()
        for name, value in values.items():
            form.locator(f"input[name={name}]").fill(value)
        form.get_by_role("button", name="Check and connect").click()

    def kind(self, title: str) -> Locator:
        return self.page.locator("details.kind").filter(has=self.page.get_by_role("heading", name=title))

    def expect_model(self, name: str) -> None:
        expect(self.page.locator("ul.names code").get_by_text(name, exact=True)).to_be_visible(timeout=90_000)

    def make_default(self, name: str) -> None:
        self.visit("/models")
        self.page.get_by_role("button", name=f"Make {name} the default").click()
        row = self.page.get_by_role("listitem").filter(has_text=name)
        expect(row.get_by_text("default", exact=True)).to_be_visible()

    # --- keys

    def make_key(self, name: str) -> str:
        """A new key, which the page shows once."""
        self.visit("/keys")
        self.page.get_by_label("What for").fill(name)
        self.page.get_by_role("button", name="Make a key").click()
        return self.shown_once("Your new key")

    def recipe(self, tool: str) -> str:
        """What the page says to write for a tool."""
        shown = self.kind(tool)
        if shown.get_attribute("open") is None:
            shown.locator("summary").click()
        return shown.locator("pre").inner_text()

    # --- members

    def invite(self, note: str) -> str:
        """An invitation link for a member."""
        self.visit("/members")
        self.page.get_by_label("For whom").fill(note)
        self.page.get_by_role("button", name="Make an invitation link").click()
        return self.shown_once("Invitation link")

    def shown_once(self, label: str) -> str:
        """What a page shows this one time, in a field to copy it from."""
        shown = self.page.get_by_role("textbox", name=label)
        expect(shown).to_be_visible()
        return shown.input_value()

    def tokens_of(self, account: Account) -> int:
        self.visit("/members")
        return _number(
            self.page.get_by_role("row").filter(has_text=account.login).locator("[data-tokens]").inner_text()
        )

    # --- my workspace

    def open_workspace(self) -> None:
        self.visit("/")
        self.page.get_by_role("button", name=re.compile("Open workspace|Try again")).click()

    def stages_until_inside(self, host_part: str, limit_s: float) -> list[str]:
        """What the progress page showed, without repetition, until the browser was on the workspace's own host."""
        shown: list[str] = []
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if host_part in self.page.url and "/.clawloops/" not in self.page.url:
                return shown
            try:
                now = self.page.evaluate(_STAGES)
            except Error:  # the page is being left: that is what we wait for
                now = ""
            if now and now not in shown:
                shown.append(now)
            self.page.wait_for_timeout(60)
        raise AssertionError(f"not inside the workspace after {limit_s:.0f} s, on {self.page.url}; it showed {shown}")

    def expect_state(self, word: str, limit_s: float = 60) -> None:
        """Waits on the first page, without loading it again, until the workspace is in a state."""
        expect(self.page.locator("#workspace-state")).to_have_text(word, timeout=limit_s * 1000)

    def stop(self) -> None:
        self.visit("/")
        self.page.get_by_role("button", name="Stop", exact=True).click()

    def start(self) -> None:
        self.visit("/")
        self.page.get_by_role("button", name="Start", exact=True).click()

    def start_and_wait(self, limit_s: float) -> None:
        """Until it is ready, whether it slept, was stopped or runs already.

        What just ended may still be followed by a start of its own, which takes the button away while it is pressed.
        """
        self.visit("/workspace")
        button = self.page.get_by_role("button", name=re.compile("^(Start|Wake)$"))
        ready = self.page.locator("#workspace-state").and_(self.page.get_by_text("Ready", exact=True))
        expect(button.or_(ready)).to_be_visible(timeout=limit_s * 1000)
        if button.is_visible():
            with suppress(TooLate):  # taken away meanwhile: what counts is below
                button.click(timeout=5000)
        self.visit("/")
        self.expect_state("Ready", limit_s)

    def delete_container(self) -> None:
        self.visit("/")
        self.page.locator("#delete-container summary").click()
        self.page.locator("#delete-container").get_by_role("button", name="Delete container").click()

    def tokens(self) -> int:
        self.visit("/")
        return _number(self.page.locator("#usage-tokens").inner_text())


def _number(text: str) -> int:
    return int(re.sub(r"\D", "", text) or 0)

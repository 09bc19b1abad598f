"""Bad input on every form of the real appliance, typed in a browser: what is wrong is seen beside its field."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from playwright.sync_api import Page, expect

from clawloops.bench.peers import free_port
from clawloops.clock import now_ms
from clawloops.control import totp
from tests.bad_input import CASES, LONG, MCP, Bad
from tests.e2e import forms
from tests.e2e.dashboard import Account, Dashboard
from tests.e2e.story import MEMBER, OWNER, Story
from tests.e2e.test_pages import paths

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.limit(500),
    pytest.mark.parametrize("story", ["https"], indirect=True),
]
DEVICE = {
    "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
    "isUserVerified": True,
}  # fmt: skip
MADE = {
    "/members/groups/new": ("/members/groups", {"group": "Designers", "weight": "2"}),
    "/budgets": ("/budgets", {"amount": "1,000,000,000"}),
    "/workspace/connections": ("/workspace/connections", {**MCP, "name": "tools"}),
}
"""By its page, what is made so that there is a form to change it: where it is sent, and with what."""
PLAIN = str.maketrans("/", "-", "{}")  # a path as the name of a picture
WITH_A_FILE = [
    Bad("/models/library/{backend}/import", {"name": "mine", "file": "none"}, "file"),
    Bad("/workspace/files/import", {"file": ""}, "file"),
]


def test_what_is_wrong_is_seen_beside_its_field_and_what_was_typed_stays(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    owner, member, stranger = (story.stranger() for _ in range(3))
    owner.sign_in(OWNER)
    member.sign_in(MEMBER)
    links = [owner.invite("Ken"), _reset_link(story, owner)]
    for path, (action, sent) in MADE.items():
        owner.visit(path)
        _sent(owner.page, action, sent)
    with _mail_server(story) as settings:
        owner.visit("/members/mail")
        _sent(owner.page, "/members/mail", settings)
    member.visit("/workspace/files")
    _sent(member.page, "/workspace/files/snapshot", {"note": "before"})
    widths = itertools.cycle((1280, 390))
    pages = [(stranger, path) for path in ("/sign-in", *links)]
    pages += [(owner, path) for path in (*paths(story, "owner"), *paths(story, "member"), "/first-run/invite")]
    pages += [(owner, path) for path in _things(owner)]
    pages += [(member, "/workspace/files"), (member, "/workspace")]
    left = [*CASES, *WITH_A_FILE]
    for who, path in pages:
        who.visit(path)
        for case in [each for each in left if forms.found(who.page, each.path, each.sent)]:
            left.remove(case)
            who.page.set_viewport_size({"width": next(widths), "height": 860})
            forms.refuse(who.page, case)
            story.picture(who.page, f"refused{case.path.translate(PLAIN)}")
            who.visit(path)
    assert [case.path for case in left] == []
    owner.visit("/members/mail")
    _sent(owner.page, "/members/mail/remove", {})
    for each in (owner, member, stranger):
        each.page.context.close()


def test_a_wrong_code_is_told_beside_its_field(story: Story) -> None:
    story.reach("owned")
    kim = Account("Kim Guest", "kim", "a second step of mine")
    who = story.stranger()
    who.join(story.owner.invite("Kim"), kim)
    who.visit("/account")
    _sent(who.page, "/account/app", {})
    secret = who.shown_once("Secret of the app")
    forms.refuse(who.page, Bad("/account/app/confirm", {"code": "none"}, "code"))
    story.picture(who.page, "refused-account-app-confirm")
    _sent(who.page, "/account/app/confirm", {"code": totp.code_of(secret, now_ms() // totp.STEP_MS)})
    who.sign_out()
    who.give_password(kim)
    expect(who.page.get_by_role("heading", name="One more step")).to_be_visible()
    forms.refuse(who.page, Bad("/sign-in/second", {"code": "none"}, "code"))
    story.picture(who.page, "refused-sign-in-second")
    who.page.context.close()


def test_a_name_that_no_passkey_can_have_is_told_beside_its_field(story: Story) -> None:
    story.reach("owned")
    who = story.stranger()
    who.sign_in(OWNER)
    devtools = who.page.context.new_cdp_session(who.page)
    devtools.send("WebAuthn.enable")
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": DEVICE})
    who.prove()
    forms.refuse(who.page, Bad("/account/passkeys", {"name": LONG}, "name"))
    story.picture(who.page, "refused-account-passkeys")
    who.page.context.close()


@contextmanager
def _mail_server(story: Story) -> Iterator[dict[str, str]]:
    """One that the control plane reaches, and what its page asks of it."""
    host, port = story.appliance.gateway_of("front"), free_port()
    server = Controller(Sink(), hostname=host, port=port)
    server.start()
    try:
        yield {"host": host, "port": str(port), "security": "none", "user": "", "sender": "box@example.com"}
    finally:
        server.stop()


def _things(owner: Dashboard) -> list[str]:
    """Pages of what was made here, which lists lead to."""
    owner.visit("/members")
    groups = owner.page.locator("a[href^='/members/groups/']:not([href$=new])")
    return [str(each.get_attribute("href")) for each in groups.all()]


def _sent(page: Page, action: str, sent: dict[str, str]) -> None:
    assert forms.send(page, action, sent) == 200, page.locator("main").inner_text()


def _reset_link(story: Story, owner: Dashboard) -> str:
    owner.visit(f"/members/{story.member_id}")
    _sent(owner.page, "/members/{id}/reset", {})
    return owner.page.locator(".copy input").first.input_value()

"""The pages in another language: what is looked up how, whole catalogues, and what stays as it is."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from clawloops.model.account import Role
from clawloops.model.mail import MailServer, Security
from clawloops.store import mail_server
from clawloops.web import cookies
from clawloops.web.languages import ENGLISH, FOLDER, NAMES, Language, Messages, chosen, language
from tests import spoken
from tests.web.box import NAVIGATE, Box
from tests.web.test_account import joined

OTHERS = sorted(set(NAMES) - {ENGLISH.code})
CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}

_SPEAKING = ("control", "oidc", "web", "orchestrator")  # folders whose refusals a page shows
_ELSEWHERE = ("web/api/", "web/health.py")  # for programs alone

TONGUE = Language(
    "xx",
    Messages(
        {
            "Ready": "BEREIT",
            "Stopped": "ANGEHALTEN",
            "others are starting first": "ANDERE ZUERST",
            "At most {count} characters.": "HÖCHSTENS {count} ZEICHEN.",
            "{name} has it open.": "{name} HAT ES OFFEN.",
            "It is {text} since {moment}.": "SEIT {moment}: {text}.",
            "First this. Then that.": "ERST, DANN.",
            "Nothing was loaded: {text}": "NICHTS GELADEN: {text}",
            "Choose a smaller one.": "NIMM EIN KLEINERES!",
            ".": "!",
        },
        {"one call": ("EIN ANRUF", "{count} ANRUFE")},
        {("form", "{count} bytes"): "{count} BYTE", ("mail", "From"): "ABSENDER"},
    ),
)


@pytest.mark.parametrize(
    ("english", "said"),
    [
        ("Ready", "BEREIT"),
        ("At most 1,200 characters.", "HÖCHSTENS 1,200 ZEICHEN."),
        ("At most some characters.", "At most some characters."),  # a count is a number
        ("Others are starting first.", "ANDERE ZUERST!"),  # made a sentence of
        ("others are starting first", "ANDERE ZUERST"),
        ("Ready has it open.", "Ready HAT ES OFFEN."),  # somebody may be called so
        ("It is Stopped since 12:04.", "SEIT 12:04: ANGEHALTEN."),
        ("First this. Then that. At most 3 characters.", "ERST, DANN. HÖCHSTENS 3 ZEICHEN."),
        ("Nobody knows this. At most 3 characters.", "Nobody knows this. HÖCHSTENS 3 ZEICHEN."),
        ("Nothing was loaded: Choose a smaller one.", "NICHTS GELADEN: NIMM EIN KLEINERES!"),
        ("Nothing was loaded: Who knows.", "NICHTS GELADEN: Who knows!"),
        ("", ""),
        ("At most 3 characters." + " x" * 400, "At most 3 characters." + " x" * 400),
        ("Ready. " * 17, "Ready. " * 17),  # as many as nobody means
        ("7 bytes", "7 bytes"),  # forms are filled in, not known again
    ],
)
def test_what_the_code_said_is_known_again(english: str, said: str) -> None:
    assert TONGUE.said(english) == said
    assert ENGLISH.said(english) == english


def test_messages_are_counted_and_filled_in() -> None:
    assert [TONGUE.counted("one call", "{count} calls", each) for each in (1, 2)] == ["EIN ANRUF", "{count} ANRUFE"]
    assert [ENGLISH.counted("one call", "{count} calls", each) for each in (1, 2)] == ["one call", "{count} calls"]
    assert TONGUE.form("{count} bytes") == "{count} BYTE" and TONGUE.message("Away") == "Away"
    assert (TONGUE.meant("mail", "From"), TONGUE.message("From"), ENGLISH.meant("mail", "From")) == (
        "ABSENDER", "From", "From"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cookie", "accepted", "code"),
    [
        ("", "", "en"),
        ("", "de-DE,de;q=0.9", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
        ("", "en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("", "en;q=0.1, ZH-hans", "zh-Hans"),
        ("", "zh;q=0, *", "en"),
        ("", "zh;q=9,,;;;", "en"),
        ("en", "zh-CN", "en"),
        ("zh-Hans", "en", "zh-Hans"),
        ("../../etc/passwd", "zh", "zh-Hans"),
    ],
)
def test_a_browser_is_answered_in_what_it_likes_best(cookie: str, accepted: str, code: str) -> None:
    assert chosen(cookie, accepted) == code


# --- the catalogues


@pytest.mark.parametrize("code", OTHERS)
def test_every_message_of_the_templates_is_in_the_catalogue(code: str) -> None:
    known = spoken.messages(FOLDER / f"{code}.po")
    lacking = {key: where for key, where in spoken.of_templates().items() if key not in known}
    assert not lacking


@pytest.mark.parametrize("code", OTHERS)
def test_every_refusal_that_a_page_shows_is_in_the_catalogue(code: str) -> None:
    known = {spoken.shape(each) for each in spoken.messages(FOLDER / f"{code}.po") if isinstance(each, str)}
    product = spoken.ROOT / "clawloops"
    paths = [path for folder in _SPEAKING for path in (product / folder).rglob("*.py")]
    lacking = [
        (f"{path.relative_to(product)}:{line}", text)
        for path in sorted(paths)
        if not str(path.relative_to(product)).startswith(_ELSEWHERE)
        for line, text in spoken.refusals(path)
        if not known & {text, text.rstrip(".")}
    ]
    assert not lacking


@pytest.mark.parametrize("code", OTHERS)
def test_every_message_of_a_catalogue_is_said_somewhere_and_keeps_its_values(code: str) -> None:
    templates, code_says, stale = spoken.of_templates(), spoken.of_code(), []
    for key, said in spoken.messages(FOLDER / f"{code}.po").items():
        english = key.rpartition(spoken.CONTEXT)[2] if isinstance(key, str) else key[-1]
        if (
            key not in templates
            and english.strip() not in ".,;:"
            and code_says.isdisjoint({english, spoken.shape(english)})
        ):
            stale.append(english)
        for each in said:
            assert each and spoken.values(each) <= spoken.values(english), f"{english!r}: {each!r}"
    assert not stale, "nothing says them"


# --- the pages


async def _asked(box: Box, path: str, token: str = "", **header: str) -> str:
    cookie = {"Cookie": f"{cookies.SESSION}={token}"} if token else {}
    reply = await box.ask("GET", path, headers={**NAVIGATE, **cookie, **CHINESE, **header})
    return await reply.text()


async def _chosen(box: Box, token: str, code: str, *, came_from: str = "", back: str = "") -> aiohttp.ClientResponse:
    header = {**NAVIGATE, "Origin": box.site.origin, "Cookie": f"{cookies.SESSION}={token}", "Referer": came_from}
    sent = [("csrf", cookies.csrf_of(token)), ("language", code), ("back", back)]
    return await box.ask("POST", "/language", headers=header, data=sent)


async def test_a_page_is_in_the_language_of_the_browser_and_names_stay(box: Box) -> None:
    ready = await joined(box, "ready", Role.OWNER)
    token, _ = await box.signed_in(ready)
    page = await _asked(box, "/", token)
    assert '<html lang="zh-Hans">' in page and "首页" in page and "Hello" not in page
    assert '<html lang="en">' in await (await box.page("/", token)).text()


async def test_the_choice_is_kept_by_the_browser_and_leads_back(box: Box) -> None:
    token, _ = await box.signed_in(await joined(box, "olga", Role.OWNER))
    reply = await _chosen(box, token, "zh-Hans", came_from=f"{box.site.origin}/usage?of=everybody")
    assert (reply.status, reply.headers["Location"]) == (303, "/usage?of=everybody")
    kept = reply.headers["Set-Cookie"]
    assert kept.startswith(f"{cookies.LANGUAGE}=zh-Hans; ") and "Secure; HttpOnly; SameSite=Lax" in kept
    cookie = f"{cookies.SESSION}={token}; {cookies.LANGUAGE}=zh-Hans"
    assert '<html lang="zh-Hans">' in await _asked(box, "/", Cookie=cookie, **{"Accept-Language": "en"})
    assert '<html lang="en">' in await _asked(box, "/sign-in", Cookie=f"{cookies.LANGUAGE}=en")
    for elsewhere in ("//elsewhere.example", "https://elsewhere.example/", f"{box.site.origin}.example/x", ""):
        for back in ("", elsewhere):
            reply = await _chosen(box, token, "en", came_from=elsewhere, back=back)
            assert (reply.status, reply.headers["Location"]) == (303, "/"), elsewhere
    reply = await _chosen(box, token, "tlh")
    assert reply.status == 400 and "Set-Cookie" not in reply.headers


async def test_a_page_that_came_of_a_form_is_not_gone_back_to(box: Box) -> None:
    token, _ = await box.signed_in(await joined(box, "olga", Role.OWNER))
    back = '<input type="hidden" name="back" value="/">'
    refused = await (await box.send("/account/password", token, current="", password="", again="")).text()
    assert back in refused and back not in await (await box.page("/account", token)).text()
    reply = await _chosen(box, token, "en", came_from=f"{box.site.origin}/account/password", back="/")
    assert reply.headers["Location"] == "/"


async def test_whoever_is_not_signed_in_can_choose_too(box: Box) -> None:
    page = await box.page("/sign-in")
    form = page.headers["Set-Cookie"].split(";")[0].split("=")[1]
    reply = await box.ask(
        "POST",
        "/language",
        headers={
            **NAVIGATE,
            "Origin": box.site.origin,
            "Cookie": f"{cookies.FORM}={form}",
            "Referer": f"{box.site.origin}/sign-in",
        },
        data=[("csrf", cookies.csrf_of(form)), ("language", "zh-Hans")],
    )
    assert (reply.status, reply.headers["Location"]) == (303, "/sign-in")


async def test_refusals_and_errors_are_in_that_language_and_the_api_is_not(box: Box) -> None:
    token, _ = await box.signed_in(await joined(box, "olga", Role.OWNER))
    assert '<html lang="zh-Hans">' in await _asked(box, "/nowhere", token)
    headers = {**NAVIGATE, **CHINESE, "Origin": box.site.origin, "Cookie": f"{cookies.SESSION}={token}"}
    sent = [("csrf", cookies.csrf_of(token)), ("current", "wrong"), ("password", "x"), ("again", "x")]
    page = await (await box.ask("POST", "/account/password", headers=headers, data=sent)).text()
    english = await (await box.send("/account/password", token, current="wrong", password="x", again="x")).text()
    assert '<html lang="zh-Hans">' in page and '<html lang="en">' in english
    problem = await (await box.ask("GET", "/api/v1/me", headers=CHINESE)).json()
    assert problem["status"] == 401 and problem["detail"].startswith("Send one token of yours")


async def test_an_invitation_goes_out_in_the_language_of_the_page_and_again_in_the_same(box: Box) -> None:
    token, _ = await box.signed_in(await joined(box, "olga", Role.OWNER))
    server = MailServer("127.0.0.1", 1, Security.STARTTLS, "box", "box@example.com")
    await mail_server.put(box.db, box.sealer, server, "a password")
    await box.mailing.load()
    headers = {**NAVIGATE, **CHINESE, "Origin": box.site.origin, "Cookie": f"{cookies.SESSION}={token}"}
    for path, sent in (
        ("/members", {"role": "member", "email": "ken@example.com"}),
        ("/members/list", {"list": "Lin, lin@example.com", "by_mail": "on"}),
    ):
        reply = await box.ask("POST", path, headers=headers, data={"csrf": cookies.csrf_of(token), **sent})
        assert reply.status in (200, 303), await reply.text()
    await box.send("/members", token, role="member", email="max@example.com")
    for each in await box.invitations.deliveries():
        assert each.language == ("en" if each.recipient.startswith("max") else "zh-Hans")
        await box.send(f"/members/invitations/{each.invitation_id}/again", token)
    assert sorted(each.language for each in await box.invitations.deliveries()) == ["en", "zh-Hans", "zh-Hans"]


@pytest.mark.parametrize("code", OTHERS)
def test_a_catalogue_is_read_as_a_whole(code: str) -> None:
    assert language(code) is language(code) and language(code).code == code
    assert {path.stem for path in FOLDER.glob("*.po")} == set(OTHERS)
    assert Path(FOLDER / f"{code}.po").read_text().count("fuzzy") == 0

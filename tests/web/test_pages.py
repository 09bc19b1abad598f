"""Pages: signing in, joining, the first page, members, models, errors that say what to do and never leak."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from clawloops.clock import now_ms
from clawloops.control.models import Models
from clawloops.model.account import Role
from clawloops.model.runtime import Phase, Want
from clawloops.model.usage import Call, Tokens
from clawloops.web import cookies, home
from tests.web.box import NAVIGATE, Box, cookie_of


async def test_health_is_answered_for_any_host(box: Box) -> None:
    reply = await box.ask("GET", "/healthz", host="127.0.0.1:1")
    assert (reply.status, (await reply.json())["status"]) == (200, "ok")


@pytest.mark.parametrize(
    "host", ["evil.example", "clawloops.localhost", "CLAWLOOPS.localhost:{port}", "a.b.ws.clawloops.localhost:{port}"]
)
async def test_another_host_is_not_served(box: Box, host: str) -> None:
    assert (await box.ask("GET", "/sign-in", host=host.format(port=box.site.port))).status == 421


async def test_the_setup_link_makes_the_owner_once(box: Box) -> None:
    link = await box.invitations.setup_link()
    assert link is not None
    path = link.removeprefix(box.site.origin)
    page = await box.page(path)
    assert page.status == 200 and "Make this box yours" in await page.text()
    form = cookie_of(page, cookies.FORM)
    sent = {
        **NAVIGATE, "Origin": box.site.origin, "Sec-Fetch-Site": "same-origin", "Cookie": f"{cookies.FORM}={form}"
    }  # fmt: skip
    fields = {"csrf": cookies.csrf_of(form), "login": "Ada", "name": "Ada L", "password": "short"}
    refused = await box.ask("POST", path, headers=sent, data=fields)
    text = await refused.text()
    assert (
        refused.status == 400 and "at least 10 characters" in text and 'value="Ada L"' in text and "short" not in text
    )
    done = await box.ask("POST", path, headers=sent, data={**fields, "password": "correct horse"})
    assert (done.status, done.headers["Location"]) == (303, "/first-run")
    home = await box.page("/", cookie_of(done, cookies.SESSION))
    assert home.status == 200 and "First steps" in await home.text()
    again = await box.page(path)
    assert again.status == 410 and "Ask for a new one" in await again.text()
    # and the password works
    wrong = await box.ask("POST", "/sign-in", headers=sent, data={**fields, "password": "wrong horse"})
    assert wrong.status == 401 and "do not fit" in await wrong.text() and 'value="Ada"' in await wrong.text()
    right = await box.ask(
        "POST", "/sign-in", headers=sent, data={**fields, "password": "correct horse", "next": "/models"}
    )
    assert (right.status, right.headers["Location"]) == (303, "/models")


async def test_a_next_address_elsewhere_is_ignored(box: Box) -> None:
    page = await box.page("/sign-in?next=//evil.example/")
    assert 'name="next" value="/"' in await page.text()


async def test_without_a_session_a_page_leads_to_sign_in_and_a_program_gets_401(box: Box) -> None:
    page = await box.page("/models")
    assert (page.status, page.headers["Location"]) == (303, "/sign-in?next=/models")
    reply = await box.ask("GET", "/models")
    assert (reply.status, reply.content_type) == (401, "application/problem+json")


async def test_members_do_not_see_the_pages_of_admins(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("mia"))
    for path in ("/models", "/members", "/box", "/first-run"):
        assert (await box.page(path, token)).status == 403
    home = await (await box.page("/", token)).text()
    assert "/members" not in home and "First steps" not in home


async def test_a_duplicate_or_damaged_cookie_is_refused(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("mia"))
    for sent in (f"{cookies.SESSION}={token}; {cookies.SESSION}={token}", f'{cookies.SESSION}="{token}"'):
        assert (await box.ask("GET", "/", headers={**NAVIGATE, "Cookie": sent})).status == 400


async def test_an_invitation_is_shown_once_and_can_be_withdrawn(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    shown = await box.send("/members", token, role="member", note="for Ben")
    text = await shown.text()
    link = text.split('id="invitation-link" value="')[1].split('"')[0]
    assert link.startswith(f"{box.site.origin}/join/") and "for Ben" in text
    assert link not in await (await box.page("/members", token)).text()
    assert (await box.page(link.removeprefix(box.site.origin))).status == 200
    (invitation,) = await box.invitations.open()
    assert (await box.send(f"/members/invitations/{invitation.id}/withdraw", token)).status == 303
    assert (await box.page(link.removeprefix(box.site.origin))).status == 410


async def test_an_admin_sees_what_each_member_used_and_can_shut_one_out(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    mia = await box.member("mia")
    runtime = await box.workspace(mia)
    hers, _ = await box.signed_in(mia)
    box.journal.append(
        Call("0" * 32, now_ms(), mia.id, runtime.id, "tiny", "b0", Tokens(input=1200, output=34), 200, 5, 9)
    )
    assert "1,234" in await (await box.page("/members", token)).text()
    assert "1,234" in await (await box.page("/", hers)).text()
    assert (await box.send(f"/members/{mia.id}/disable", token)).status == 303
    assert (await box.page("/", hers)).status == 303
    stopped = await box.runtimes.of_owner(mia.id)
    assert stopped is not None and stopped.want is Want.STOPPED
    assert (await box.send(f"/members/{mia.id}/enable", token)).status == 303
    assert box.accounts.get(mia.id).disabled_at is None


async def test_a_backend_that_does_not_answer_is_told_beside_its_field_and_the_key_is_not_repeated(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    refused = await box.send(
        "/models", token, kind="openai", url="http://192.0.2.1:9/v1?x", key="sk-canary-0123456789", models="tiny"
    )
    text = await refused.text()
    assert refused.status == 400 and 'id="openai-url-note"' in text and 'value="tiny"' in text
    assert "sk-canary" not in text and await box.backends.all() == []


async def test_opening_shows_progress_and_then_leads_to_the_workspace(box: Box) -> None:
    mia = await box.member("mia")
    token, _ = await box.signed_in(mia)
    assert (await box.send("/workspace/open", token)).headers["Location"] == "/workspace/opening"
    runtime = await box.runtimes.of_owner(mia.id)
    assert runtime is not None and runtime.want is Want.RUNNING and box.woken == [runtime.id]
    box.show(runtime, Phase.BOOT)
    page = await (await box.page("/workspace/opening", token)).text()
    assert 'data-phase="boot"' in page and "data-running" in page
    box.show(runtime, Phase.DEGRADED, reason="the image is missing")
    assert "The image is missing." in await (await box.page("/workspace/opening", token)).text()
    box.show(runtime, Phase.READY, address="127.0.0.1")
    ready = await box.page("/workspace/opening", token)
    assert ready.headers["Location"] == f"http://{runtime.slug}.ws.{box.site.authority}/"
    assert (await box.send("/workspace/stop", token)).status == 303
    assert (await box.send("/workspace/delete", token)).status == 303
    gone = await box.runtimes.of_owner(mia.id)
    assert gone is not None and gone.want is Want.GONE


async def test_live_sends_the_card_at_each_change_and_ends_with_the_session(box: Box) -> None:
    mia = await box.member("mia")
    token, session = await box.signed_in(mia)
    runtime = await box.workspace(mia, Phase.NETWORK)
    headers = {"Host": box.site.authority, "Cookie": f"{cookies.SESSION}={token}"}
    async with asyncio.timeout(10), box.http.get(f"http://127.0.0.1:{box.site.port}/live", headers=headers) as stream:
        assert stream.content_type == "text/event-stream"
        first = await _event(stream.content)
        assert 'data-phase="network"' in first
        box.show(runtime, Phase.BOOT)
        assert 'data-phase="boot"' in await _event(stream.content)
        await box.sessions.revoke(session)
        assert (await _event(stream.content)).startswith("event: ended")
        assert await stream.content.read() == b""


@pytest.mark.faults
async def test_a_stream_that_fails_midway_is_cut_and_not_followed_by_an_error_page(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    mia = await box.member("mia")
    token, _ = await box.signed_in(mia)
    runtime = await box.workspace(mia, Phase.NETWORK)
    headers = {"Host": box.site.authority, "Cookie": f"{cookies.SESSION}={token}"}
    async with asyncio.timeout(10), box.http.get(f"http://127.0.0.1:{box.site.port}/live", headers=headers) as stream:
        await _event(stream.content)
        monkeypatch.setattr(home, "state_of", None)
        box.show(runtime, Phase.BOOT)
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.content.read()


async def _event(content: object) -> str:
    while True:
        block = await content.readuntil(b"\n\n")  # type: ignore[attr-defined]
        if block.startswith(b"event:"):
            return str(block.decode())


async def test_an_unforeseen_error_is_a_page_that_leaks_nothing(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Models, user: object) -> list[object]:
        raise RuntimeError("secret detail at /var/lib/clawloops with sk-123456789")

    monkeypatch.setattr(Models, "names_for", broken)
    token, _ = await box.signed_in(await box.member("mia"))
    page = await box.page("/", token)
    text = await page.text()
    assert page.status == 500 and page.headers["X-Request-Id"] in text and "Nothing was lost" in text
    assert "secret" not in text and "sk-" not in text and "Traceback" not in text
    program = await box.ask("GET", "/", headers={"Cookie": f"{cookies.SESSION}={token}"})
    assert program.content_type == "application/problem+json"
    assert "secret" not in json.dumps(await program.json(content_type=None))


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", "/members", {"note": "Mia\0"}),
        ("POST", "/keys", {"name": "\0"}),
        ("POST", "/members/%00/disable", {}),
        ("GET", "/audit?words=%00", {}),
        ("GET", "/trust/%00", {}),
    ],
)
async def test_a_nul_is_bad_input_wherever_it_stands(box: Box, method: str, path: str, fields: dict[str, str]) -> None:
    token, _ = await box.signed_in(await box.member("olga", Role.OWNER))
    reply = await (box.page(path, token) if method == "GET" else box.send(path, token, **fields))
    assert reply.status == 400 and "NUL" in await reply.text()


async def test_every_page_carries_the_headers_that_keep_others_out(box: Box) -> None:
    token, _ = await box.signed_in(await box.member("mia"))
    for path in ("/", "/sign-in", "/nowhere", "/static/app.css"):
        headers = (await box.page(path, token)).headers
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
    page = await box.page("/", token)
    nonce = page.headers["Content-Security-Policy"].split("'nonce-")[1].split("'")[0]
    assert f'nonce="{nonce}"' in await page.text() and page.headers["Cache-Control"] == "no-store"


async def test_the_certificate_authority_can_be_downloaded(box: Box) -> None:
    reply = await box.ask("GET", "/ca.crt", host=box.site.base)
    assert reply.status == 200 and (await reply.text()).startswith("-----BEGIN CERTIFICATE")


@pytest.mark.attacks(19)
async def test_the_token_of_a_link_is_not_in_the_log(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    olga = await box.member("olga", Role.OWNER)
    path = "/" + (await box.invitations.invite(role=Role.MEMBER, note="", by=olga)).split("/", 3)[3]
    await box.db.close()
    assert (await box.page(path)).status >= 500
    assert "/join/…" in caplog.text and path not in caplog.text

"""The page of one's own account: where one is signed in, signing others out, and the password."""

from __future__ import annotations

import pytest

from clawloops.model.account import Role, SessionKind, User
from clawloops.web import cookies
from tests.web.box import NAVIGATE, Box

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
SAFARI = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile Safari/604.1"
EDGE = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0"
PASSWORD = "correct horse battery"


async def joined(box: Box, login: str, role: Role = Role.MEMBER) -> User:
    """A member with a password."""
    user = await box.member(login, role)
    draft = await box.accounts.draft(login=f"{login}-x", name="x", password=PASSWORD, role=user.role)
    await box.db.execute("UPDATE users SET password_hash = $1 WHERE id = $2", draft.password_hash, user.id)
    await box.accounts.load()
    return box.accounts.get(user.id)


async def sign_in(box: Box, login: str, agent: str, password: str = PASSWORD) -> tuple[int, str]:
    """The status, and the cookie of the session ("" for none), by the form as a browser sends it."""
    shown = await box.page("/sign-in")
    given = shown.headers["Set-Cookie"].split(";")[0]
    reply = await box.ask(
        "POST",
        "/sign-in",
        headers={
            **NAVIGATE,
            "Origin": box.site.origin,
            "Sec-Fetch-Site": "same-origin",
            "Cookie": given,
            "User-Agent": agent,
            "X-Forwarded-For": "192.0.2.7",
        },
        data={"csrf": cookies.csrf_of(given.split("=", 1)[1]), "login": login, "password": password},
    )
    found = reply.cookies.get(cookies.SESSION)
    return reply.status, found.value if found else ""


async def test_it_shows_where_one_is_signed_in_and_signs_one_out(box: Box) -> None:
    await joined(box, "mia")
    _, here = await sign_in(box, "mia", FIREFOX)
    _, phone = await sign_in(box, "mia", SAFARI)
    text = await (await box.page("/account", here)).text()
    assert text.count("<li>") == 2 and "from 192.0.2.7" in text
    assert "Firefox on Linux" in text and "Safari on iPhone" in text and text.count("this one") == 1
    assert here not in text and phone not in text
    found = box.accounts.user_of(phone)
    assert found is not None
    assert (await box.send(f"/account/sessions/{found[1].id}/end", here)).status == 303
    assert box.accounts.user_of(phone) is None and box.accounts.user_of(here) is not None
    assert (await box.send(f"/account/sessions/{found[1].id}/end", here)).status == 404


async def test_everywhere_else_is_everywhere_but_here_and_nobody_elses(box: Box) -> None:
    mia, ben = await joined(box, "mia"), await joined(box, "ben")
    (here, _), (other, parent), (bens, _) = [await box.signed_in(each) for each in (mia, mia, ben)]
    runtime = await box.runtimes.open(mia)
    inside, _ = await box.sessions.issue(mia.id, SessionKind.WORKSPACE, runtime_id=runtime.id, parent=parent)
    assert "Sign out everywhere else" in await (await box.page("/account", here)).text()
    assert (await box.send("/account/sessions/end", here)).status == 303
    assert box.accounts.user_of(other) is None and box.accounts.user_of(here) is not None
    assert box.sessions.find(inside, SessionKind.WORKSPACE) is None
    assert box.accounts.user_of(bens) is not None
    assert "Sign out everywhere else" not in await (await box.page("/account", here)).text()


@pytest.mark.attacks
async def test_nobody_ends_the_session_of_another(box: Box) -> None:
    mia, ben = await box.member("mia"), await box.member("ben")
    (here, _), (bens, session) = await box.signed_in(mia), await box.signed_in(ben)
    assert (await box.send(f"/account/sessions/{session.id}/end", here)).status == 404
    assert box.accounts.user_of(bens) is not None


async def test_a_new_password_signs_everybody_else_out_and_the_old_one_is_worth_nothing(box: Box) -> None:
    mia = await joined(box, "mia")
    (here, _), (other, _) = await box.signed_in(mia), await box.signed_in(mia)
    reply = await box.send("/account/password", here, current=PASSWORD, password="quite another sentence")
    assert (reply.status, reply.headers["Location"]) == (303, "/account?changed")
    assert "Your password is changed" in await (await box.page("/account?changed", here)).text()
    assert box.accounts.user_of(other) is None and box.accounts.user_of(here) is not None
    assert (await sign_in(box, "mia", EDGE))[0] == 401
    assert (await sign_in(box, "mia", EDGE, "quite another sentence"))[0] == 303
    assert "Edge on Windows" in await (await box.page("/account", here)).text()


async def test_without_the_right_password_nothing_is_changed(box: Box) -> None:
    mia = await joined(box, "mia")
    (here, _), (other, _) = await box.signed_in(mia), await box.signed_in(mia)
    reply = await box.send("/account/password", here, current="wrong", password="quite another sentence")
    assert reply.status == 400 and "That is not your password" in await reply.text()
    reply = await box.send("/account/password", here, current=PASSWORD, password="short")
    text = await reply.text()
    assert reply.status == 400 and "at least 10 characters" in text
    assert PASSWORD not in text, "what was right is not written back either"
    assert 'autofocus aria-describedby="f-password-note"' in " ".join(text.split())
    assert box.accounts.user_of(other) is not None
    assert (await sign_in(box, "mia", FIREFOX))[0] == 303


@pytest.mark.attacks(20)
async def test_guessing_the_password_behind_a_session_is_slowed_down(box: Box) -> None:
    mia = await joined(box, "mia")
    here, _ = await box.signed_in(mia)
    seen = [
        (await box.send("/account/password", here, current=f"guess {n}", password="quite another one")).status
        for n in range(12)
    ]
    assert seen[0] == 400 and seen[-1] == 429

"""E-mail: through which server this box sends it, a test, and what became of the last ones."""

from __future__ import annotations

from aiohttp import web

from clawloops.errors import BadInput
from clawloops.model.mail import MailServer, Security
from clawloops.web.context import MAILING, SENT, USER
from clawloops.web.fields import number
from clawloops.web.languages import spoken
from clawloops.web.pages import render

SECURITIES = {
    Security.STARTTLS: "STARTTLS, often port 587",
    Security.TLS: "TLS, often port 465",
    Security.NONE: "None, for a server on this network that asks for no password",
}


async def show(request: web.Request, *, said: str = "") -> web.Response:
    """`said`: what the server said to a test."""
    mailing = request.app[MAILING]
    return render(
        request,
        "mail.html",
        server=mailing.server,
        trouble=mailing.trouble,
        securities=SECURITIES,
        said=said,
        saved="saved" in request.query,
    )


async def save(request: web.Request) -> web.Response:
    sent = request[SENT]
    try:
        security = Security(sent.get("security", ""))
    except ValueError:
        raise BadInput("Choose one of the list.", field="security") from None
    refusal = "A port is a number, often 587 or 465."
    wanted = MailServer(
        host=sent.get("host", "").strip(),
        port=number(sent.get("port", "").strip(), "port", digits=5, refusal=refusal),
        security=security,
        user=sent.get("user", "").strip(),
        sender=sent.get("sender", "").strip(),
    )
    await request.app[MAILING].set_server(wanted, sent.get("secret", ""), by=request[USER])
    raise web.HTTPSeeOther("/members/mail?saved")


async def test(request: web.Request) -> web.Response:
    said = await request.app[MAILING].test(request[SENT].get("recipient", ""), by=request[USER], tongue=spoken())
    return await show(request, said=said)


async def remove(request: web.Request) -> web.Response:
    await request.app[MAILING].remove_server(by=request[USER])
    raise web.HTTPSeeOther("/members/mail")

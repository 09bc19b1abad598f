"""One connection to the mail server: vetted, encrypted as was chosen, signed in, and never waited for without an end.

What the server says is quoted to admins, so whatever of it is secret is masked: servers quote what they refuse.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from ipaddress import IPv4Network, IPv6Address, ip_address
from socket import SOCK_STREAM, socket

import aiosmtplib
from aiohappyeyeballs import start_connection

from clawloops.errors import MailNotSent
from clawloops.gateway.resolve import is_out_of_bounds
from clawloops.model.mail import MailServer, Security
from clawloops.spelling import spellings

CONNECT_S = 15  # looked up, connected, encrypted and signed in
SEND_S = 30  # one e-mail
_MOST_DIALLED = 4  # addresses of one name
_MOST_SAID = 300  # characters that are quoted
_EYEBALLS_S = 0.25


def may_be_there(address: str, *, pool: IPv4Network) -> bool:
    """Whether a mail server may have this IP address: no workspace's, not this container's, and not link-local."""
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return not is_out_of_bounds(address) and found not in pool


@dataclass(frozen=True, slots=True)
class Line:
    """A connection that is ready to send."""

    _smtp: aiosmtplib.SMTP
    _sender: str
    _hidden: tuple[str, ...]

    async def send(self, letter: EmailMessage, recipient: str, *, hidden: Collection[str]) -> str:
        """What the server says to it, once it has taken it. `hidden`: secrets in the letter, masked in what it says.

        Raises MailNotSent. After one that is not `is_final` the connection may be of no use any more.
        """
        secrets = (*self._hidden, *hidden)
        try:
            async with asyncio.timeout(SEND_S):
                _, said = await self._smtp.send_message(letter, sender=self._sender, recipients=[recipient])
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _refused(error.recipients[0], secrets) from error
        except aiosmtplib.SMTPSenderRefused as error:
            told = f"The mail server refuses {self._sender} as the sender: {_said(error, secrets)}"
            raise MailNotSent(told, field="sender") from error
        except aiosmtplib.SMTPResponseException as error:
            raise _refused(error, secrets) from error
        except TimeoutError as error:
            raise MailNotSent("The mail server did not answer in time while it was given the e-mail.") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            told = f"The connection to the mail server broke off: {_masked(str(error), secrets)}"
            raise MailNotSent(told) from error
        return _masked(said, secrets)


class Post:
    """The way to mail servers."""

    def __init__(self, *, name: str, may_reach: Callable[[str], bool], tls: ssl.SSLContext | None = None) -> None:
        """`name`: this host's, as it greets. `may_reach`: whether an IP address may be connected to.

        `tls`: whom to trust; the system's authorities when left out.
        """
        self._name = name
        self._may_reach = may_reach
        self._tls = tls

    @asynccontextmanager
    async def line(self, server: MailServer, password: str) -> AsyncIterator[Line]:
        """A connection, closed at the end. Raises MailNotSent with the field of the setting that is to blame."""
        signs_in = f"\0{server.user}\0{password}"
        hidden = tuple(filter(None, (password, *(_base64(each) for each in (password, signs_in) if password))))
        smtp = aiosmtplib.SMTP(timeout=CONNECT_S)
        try:
            await self._open(smtp, server, password, hidden)
            yield Line(smtp, server.sender, hidden)
        finally:
            with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await smtp.quit()
            smtp.close()

    async def _open(self, smtp: aiosmtplib.SMTP, server: MailServer, password: str, hidden: tuple[str, ...]) -> None:
        where = f"{server.host} port {server.port}"
        try:
            async with asyncio.timeout(CONNECT_S):
                connected = await self._connect(server)
                try:
                    self._tls = self._tls or await asyncio.to_thread(ssl.create_default_context)
                    await smtp.connect(
                        hostname=server.host,
                        sock=connected,
                        use_tls=server.security is Security.TLS,
                        start_tls=server.security is Security.STARTTLS,
                        tls_context=self._tls,
                        local_hostname=self._name,
                    )
                except BaseException:
                    connected.close()
                    raise
                if server.user:
                    await smtp.login(server.user, password)
        except aiosmtplib.SMTPAuthenticationError as error:
            told = f"The mail server does not let {server.user} in: {_said(error, hidden)}"
            raise MailNotSent(told, field="secret") from error
        except TimeoutError as error:
            raise MailNotSent(f"{where} did not answer within {CONNECT_S} s.", field="host") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            if wrong := _of_certificate(error):
                told = f"The certificate of {where} is not good: {wrong.verify_message}."
            else:
                told = f"{where} cannot be used: {_masked(str(error), hidden)}"
            raise MailNotSent(told, field=_to_blame(error)) from error

    async def _connect(self, server: MailServer) -> socket:
        """Each time looked up anew, and connected to what was vetted: a name may lead elsewhere tomorrow."""
        found = await asyncio.get_running_loop().getaddrinfo(server.host, server.port, type=SOCK_STREAM)
        allowed = [each for each in found if self._may_reach(str(each[4][0]))]
        if not allowed:
            raise OSError("it leads to a workspace, to this container itself, or to a link-local address")
        return await start_connection(allowed[:_MOST_DIALLED], happy_eyeballs_delay=_EYEBALLS_S)


def _of_certificate(error: BaseException) -> ssl.SSLCertVerificationError | None:
    causes = (error, error.__cause__)
    return next((each for each in causes if isinstance(each, ssl.SSLCertVerificationError)), None)


def _to_blame(error: Exception) -> str:
    """The setting that has to be another one: how the way is encrypted, who signs in, or where it leads."""
    if type(error) is aiosmtplib.SMTPException:  # what it does not offer
        return "user" if "AUTH" in str(error) else "security"
    speaks_tls = isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError)
    return "security" if speaks_tls else "host"


def _refused(error: aiosmtplib.SMTPResponseException, hidden: Collection[str]) -> MailNotSent:
    """What begins with 5 stays so (RFC 5321, 4.2.1)."""
    return MailNotSent(f"The mail server said: {_said(error, hidden)}", is_final=error.code >= 500)


def _said(error: aiosmtplib.SMTPResponseException, hidden: Collection[str]) -> str:
    return _masked(f"{error.code} {error.message}", hidden)


def _masked(text: str, hidden: Collection[str]) -> str:
    for secret in hidden:
        for spelling in spellings(secret):
            text = text.replace(spelling, "[secret]")
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:_MOST_SAID]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()

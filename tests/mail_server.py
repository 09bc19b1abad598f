"""A real mail server on loopback (aiosmtpd) that fails as it is told, and what signs its certificate."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session
from cryptography.hazmat.primitives.serialization import Encoding

from clawloops.certificates.authority import Authority, new_authority
from clawloops.model.mail import MailServer, Security

USER, PASSWORD = "box@example.org", 'a/pass+word="&<é'
SENDER = "clawloops@example.org"


@dataclass
class Office:
    """What has come in, and what the next e-mails are answered: "" takes one, "hang", "close", or a line."""

    port: int = 0
    taken: list[tuple[str, EmailMessage]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)  # what a recipient is answered
    greetings: int = 0
    signed_in: list[str] = field(default_factory=list)
    echoes_sign_in: bool = False  # a wrong password is quoted, as some servers do
    bodies: list[bytes] = field(default_factory=list)  # also of what was not taken

    async def handle_EHLO(
        self, server: Any, session: Session, envelope: Envelope, hostname: str, lines: list[str]
    ) -> Any:
        self.greetings += 1
        session.host_name = hostname
        return lines

    async def handle_RCPT(self, server: Any, session: Session, envelope: Envelope, address: str, options: Any) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        self.bodies.append(content)
        answer = self.answers.pop(0) if self.answers else ""
        if answer == "hang":
            await asyncio.sleep(3600)
        if answer == "close":
            server.transport.abort()
            return "250 never heard"
        if answer:
            return answer.replace("CONTENT", " ".join(content.decode().split()))
        self.taken.append((envelope.rcpt_tos[0], message_from_bytes(content, policy=default)))
        return "250 Taken as number 7"

    def sign_in(self, server: Any, session: Session, envelope: Envelope, kind: str, data: Any) -> AuthResult:
        given = (data.login.decode(), data.password.decode())
        self.signed_in.append(given[0])
        told = f"535 5.7.8 no {given[1]}".encode("ascii", "replace").decode() if self.echoes_sign_in else None
        return AuthResult(success=given == (USER, PASSWORD), handled=False, message=told)

    def settings(self, security: Security, *, user: str = USER, host: str = "localhost") -> MailServer:
        return MailServer(host, self.port, security, user if security is not Security.NONE else "", SENDER)


class Certificates:
    """An authority, what trusts it, and what servers show."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority: Authority = new_authority("localhost", now=datetime.now(UTC))
        pem = self.authority.certificate.public_bytes(Encoding.PEM).decode()
        self.trusting = ssl.create_default_context(cadata=pem)

    def shown(self, *, base: str = "localhost", by: Authority | None = None) -> ssl.SSLContext:
        pair = (by or self.authority).sign(base, now=datetime.now(UTC))
        chain, key = self._folder / "chain.pem", self._folder / "key.pem"
        chain.write_text(pair.chain)
        key.write_text(pair.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        return context


@asynccontextmanager
async def office(
    security: Security, context: ssl.SSLContext | None = None, *, offers_tls: bool = True
) -> AsyncIterator[Office]:
    """A server that listens. `context`: of its certificate."""
    made = Office()
    starts = security is Security.STARTTLS and offers_tls

    def protocol() -> SMTP:
        return SMTP(
            made,
            hostname="mail.example.org",
            tls_context=context if starts else None,
            require_starttls=starts,
            authenticator=made.sign_in if security is not Security.NONE else None,
            auth_require_tls=starts,
            enable_SMTPUTF8=False,
            loop=asyncio.get_running_loop(),
        )

    tls = context if security is Security.TLS else None
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


@asynccontextmanager
async def silence() -> AsyncIterator[int]:
    """The port of a server that takes connections, and never says a word."""
    held: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        for each in held:
            each.transport.abort()
        server.close()

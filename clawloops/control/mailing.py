"""E-mail: the server that an admin has chosen, and the queue of invitations that are sent through it.

The queue is in the store. A try that came to nothing is made again, later each time and not for ever; whoever stops
between a server's "taken" and our note of it sends the same e-mail with the same link once more, after a wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
from collections.abc import Callable
from dataclasses import replace

from clawloops.clock import now_ms
from clawloops.control import letters
from clawloops.control.audit import Audit
from clawloops.control.invitations import Invitations
from clawloops.control.letters import Tongue
from clawloops.control.smtp import Line, Post
from clawloops.errors import BadInput, ClawLoopsError, Conflict, Forbidden, Gone, MailNotSent, SealBroken
from clawloops.log import redactor
from clawloops.model.account import User
from clawloops.model.mail import Delivery, DeliveryState, MailServer, Security, is_address
from clawloops.store import deliveries, mail_server
from clawloops.store.db import Database
from clawloops.store.seal import Sealer

AGAIN_AFTER_MIN = (1, 5, 15, 60, 240, 720)
"""Between tries; after the last of them an e-mail is given up."""

LOOK_EVERY_S = 60.0
PAUSE_S = 1.0  # between two connections, whatever happens
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_LONGEST = 255  # characters of a user and a password
log = logging.getLogger(__name__)


class Mailing:
    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        invitations: Invitations,
        audit: Audit,
        *,
        post: Post,
        base: str,
        tongue: Callable[[str], Tongue],
    ) -> None:
        """`base`: the dashboard's host, by which people recognise the box. `tongue`: a language, by its code."""
        self._db = db
        self._sealer = sealer
        self._invitations = invitations
        self._audit = audit
        self._post = post
        self._base = base
        self._tongue = tongue
        self._password = ""
        self._woken = asyncio.Event()
        self.server: MailServer | None = None
        self.trouble = ""  # why there is none although one was set up

    async def load(self) -> None:
        """Take up what was chosen. One that does not open is as none: nothing else of the box waits for e-mail."""
        try:
            found = await mail_server.get(self._db, self._sealer)
        except SealBroken as error:
            log.error("no e-mail is sent: %s", error)
            self.trouble = f"The settings for e-mail cannot be used: {error}."
            return
        self._take(*(found or (None, "")))

    async def set_server(self, wanted: MailServer, password: str, *, by: User) -> None:
        """Try it, and send through it from now on. An empty password keeps the one that is there for this server.

        Raises BadInput with the field that is wrong: also when the server does not answer, or does not let us in.
        """
        _admin(by)
        _check(wanted)
        if wanted.user and not password:
            if self.server is None or _door(wanted) != _door(self.server) or not self._password:
                raise BadInput("Enter the password: it is kept for one server and user only.", field="secret")
            password = self._password
        if password and not wanted.user:
            raise BadInput("A password goes with a user.", field="user")
        if len(password) > _LONGEST or not password.isprintable():
            raise BadInput(f"A password here has at most {_LONGEST} printable characters.", field="secret")
        try:
            async with self._post.line(wanted, password):
                pass
        except MailNotSent as error:
            raise BadInput(str(error), field=error.field) from error
        async with self._db.transaction():
            await mail_server.put(self._db, self._sealer, wanted, password)
            await deliveries.hurry(self._db, now_ms())
            told = f"{wanted.host} port {wanted.port}, {wanted.security}, from {wanted.sender}"
            await self._audit.record(by.id, "mail server set", wanted.user, told)
        self._take(wanted, password)
        self.wake()

    async def remove_server(self, *, by: User) -> None:
        """Nothing is sent from now on; what waits goes on waiting for another server."""
        _admin(by)
        async with self._db.transaction():
            await mail_server.remove(self._db)
            await self._audit.record(by.id, "mail server removed", self.server.host if self.server else "")
        self._take(None, "")

    async def test(self, recipient: str, *, by: User, tongue: Tongue) -> str:
        """Send an e-mail now, in that language; what the server said to it. Raises BadInput (the field), Conflict."""
        _admin(by)
        recipient = recipient.strip()
        if not is_address(recipient):
            raise BadInput("Give one e-mail address, like ada@example.com.", field="recipient")
        server = self.ready()
        number = f"test.{secrets.token_hex(8)}"
        letter = letters.trial(by, tongue, to=recipient, sender=server.sender, base=self._base, number=number)
        await self._audit.record(by.id, "mail tested", recipient)
        try:
            async with self._post.line(server, self._password) as line:
                return await line.send(letter, recipient, hidden=())
        except MailNotSent as error:
            raise BadInput(str(error), field="recipient") from error

    def ready(self) -> MailServer:
        """The server. Raises Conflict when none is set up."""
        if self.server is None:
            raise Conflict("No mail server is set up. Do that first, under Members, E-mail.")
        return self.server

    def wake(self) -> None:
        """There is something to send."""
        self._woken.set()

    async def run(self) -> None:
        while True:
            wait_s = LOOK_EVERY_S
            try:
                wait_s = await self.deliver()
            except ClawLoopsError as error:
                log.error("e-mails were not looked after: %s", error)
            await asyncio.sleep(PAUSE_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), max(0.0, min(wait_s, LOOK_EVERY_S) - PAUSE_S))
            self._woken.clear()

    async def deliver(self) -> float:
        """Send what is due, over one connection. Returns in how many seconds something is due again."""
        waiting = [each for each in await self._invitations.deliveries() if each.state is DeliveryState.WAITING]
        now = now_ms()
        due = [each for each in waiting if each.next_at <= now]
        if self.server is None:
            return LOOK_EVERY_S
        if not due:
            return min((each.next_at - now for each in waiting), default=60_000) / 1000
        server, left = self.server, list(due)
        try:
            async with self._post.line(server, self._password) as line:
                while left and self.server is server:
                    if not await self._send(line, left.pop(0), server):
                        break  # the connection may be broken: the rest gets another one
        except MailNotSent as error:  # nobody was to blame but the server: all of them have had their try
            log.warning("%d e-mails were not sent: %s", len(left), error)
            for each in left:
                await self._note_failed(each, error)
        return 0.0

    async def _send(self, line: Line, each: Delivery, server: MailServer) -> bool:
        """Whether the connection is still good."""
        try:
            asked, by, link = await self._invitations.to_send(each.invitation_id)
        except Gone:
            gone = "Whoever has invited may not invite any more: withdraw it, and invite anew."
            await self._note(each, DeliveryState.FAILED, gone, tries=each.tries)
            return True
        wait_ms = AGAIN_AFTER_MIN[min(each.tries, len(AGAIN_AFTER_MIN) - 1)] * 60_000
        # Before anything is sent: a store that takes no notes would have the same e-mail sent again and again.
        await self._note(each, DeliveryState.WAITING, each.said, tries=each.tries, wait_ms=wait_ms)
        try:
            tongue = await asyncio.to_thread(self._tongue, each.language)  # its file may have to be read
            letter = letters.invitation(asked, by, link, each, tongue, sender=server.sender, base=self._base)
            said = await line.send(letter, each.recipient, hidden=(link.rpartition("/")[2],))
        except MailNotSent as error:
            await self._note_failed(each, error)
            return error.is_final
        except Exception:  # one e-mail that cannot be made must not end all others
            log.exception("the e-mail of invitation %s was given up", each.invitation_id)
            told = "It could not be made or sent; the log of this box says why. Withdraw it, and invite anew."
            await self._note(each, DeliveryState.FAILED, told, tries=each.tries + 1)
            return False
        await self._note(each, DeliveryState.SENT, said, tries=each.tries + 1)
        return True

    async def _note_failed(self, each: Delivery, error: MailNotSent) -> None:
        if error.is_final or each.tries >= len(AGAIN_AFTER_MIN):
            await self._note(each, DeliveryState.FAILED, str(error), tries=each.tries + 1)
        else:
            wait_ms = AGAIN_AFTER_MIN[each.tries] * 60_000
            await self._note(each, DeliveryState.WAITING, str(error), tries=each.tries + 1, wait_ms=wait_ms)

    async def _note(self, each: Delivery, state: DeliveryState, said: str, *, tries: int, wait_ms: int = 0) -> None:
        await deliveries.note(self._db, replace(each, state=state, tries=tries, next_at=now_ms() + wait_ms, said=said))

    def _take(self, server: MailServer | None, password: str) -> None:
        redactor.add(password)
        self.server, self._password, self.trouble = server, password, ""


def _door(server: MailServer) -> tuple[object, ...]:
    """What a password is for."""
    return server.host, server.port, server.security, server.user


def _check(wanted: MailServer) -> None:
    """Raises BadInput with the field."""
    if not _HOST.fullmatch(wanted.host):
        raise BadInput("Give the name or the address of the mail server, like smtp.example.com.", field="host")
    if not 1 <= wanted.port <= 65535:
        raise BadInput("A port is a number from 1 to 65535: often 587 with STARTTLS, 465 with TLS.", field="port")
    if len(wanted.user) > _LONGEST or not wanted.user.isprintable():
        raise BadInput(f"A user has at most {_LONGEST} printable characters.", field="user")
    if wanted.user and wanted.security is Security.NONE:
        raise BadInput(
            "Without encryption the password can be read on the way. Choose STARTTLS or TLS.", field="security"
        )
    if not is_address(wanted.sender):
        raise BadInput("Give one e-mail address, like clawloops@example.com.", field="sender")


def _admin(by: User) -> None:
    if not by.role.administers:
        raise Forbidden("Only an admin can set up e-mail.")

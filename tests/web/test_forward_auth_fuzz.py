"""Ten thousand requests to ForwardAuth, byte for byte, against an oracle that never reads one.

The oracle knows how each was put together (it passes when every part was drawn from the good ones), and how its session
and its runtime are at that moment. Some come from an admin, who inspects the workspace at times. Many are sent again
after something has changed, some together, some in pieces.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from clawloops.clock import now_ms
from clawloops.model.account import Role, Session, SessionKind, User
from clawloops.model.inspection import Inspection
from clawloops.model.runtime import Phase, Runtime
from clawloops.web import cookies
from tests.web.box import NAVIGATE, Box
from tests.web.door import Line, status_of

REQUESTS = 10_000
_DENIALS = frozenset({302, 400, 401, 403, 404, 503})
_PARTS = ("cookie", "host", "uri", "path", "proto", "method", "origin", "body", "bytes")

Field = tuple[str, str]


@dataclass(frozen=True)
class Drawn:
    raw: bytes
    is_good: bool  # in all of its parts
    ends: bool  # the connection may end with it


class Fuzz:
    """One member's workspace, its door, and somebody else's beside it."""

    def __init__(self, box: Box, seed: int) -> None:
        self.box = box
        self.dice = random.Random(seed)
        self.phase = Phase.READY
        self.is_disabled = False

    async def prepare(self) -> None:
        self.mia: User = await self.box.member("mia")
        self.runtime: Runtime = await self.box.workspace(self.mia)
        self.other = await self.box.workspace(await self.box.member("ben"))
        self.dashboard, _ = await self.box.signed_in(self.mia)
        self.host = self.box.site.workspace_host(self.runtime.slug)
        self.ada = await self.box.member("ada", Role.ADMIN)
        _, self.desk = await self.box.signed_in(self.ada)
        self.is_inspected = False
        await self.inspect()
        await self.renew()

    async def renew(self) -> None:
        self.token, self.session = await self.box.inside(self.mia, self.runtime)

    async def inspect(self) -> None:
        """End what the admin has open, or open it anew."""
        self.is_inspected = not self.is_inspected
        if not self.is_inspected:
            await self.box.inspections.end(self.inspection.id, by=self.dice.choice([self.ada, self.mia]))
            return
        made = await self.box.inspections.open(self.runtime, by=self.ada, session=self.desk, reason="x", minutes=60)
        self.inspection: Inspection = made
        kind = SessionKind.WORKSPACE
        self.ada_token, self.ada_session = await self.box.sessions.issue(
            self.ada.id, kind, runtime_id=self.runtime.id, parent=self.desk, inspection=made
        )

    def is_entitled(self, session: Session) -> bool:
        ours = session is self.session or (session is self.ada_session and self.is_inspected)
        return ours and self.phase is Phase.READY and not self.is_disabled

    async def change(self) -> None:
        """Something that the next requests meet. What was drawn before keeps the cookie that it has."""
        match self.dice.randrange(12):
            case 0:
                self.phase = self.dice.choice([Phase.BOOT, Phase.STOPPED, Phase.UNKNOWN, Phase.ASLEEP])
            case 1:
                await self.box.sessions.revoke(self.session)
                await self.renew()
            case 2:
                self.is_disabled = True
            case 3 if not self.is_disabled:
                await self.inspect()
            case _:
                self.phase, self.is_disabled = Phase.READY, False
        self.box.show(self.runtime, self.phase, address="127.0.0.1")
        known = replace(self.mia, disabled_at=now_ms() if self.is_disabled else None)
        self.box.accounts.remember(known)

    def draw(self) -> tuple[Drawn, Session]:
        dice = self.dice
        token, session = dice.choice([(self.token, self.session)] * 2 + [(self.ada_token, self.ada_session)])
        flaws = set(dice.sample(_PARTS, dice.choice([0, 0, 0, 0, 1, 1, 2])))
        fields: list[Field] = [
            ("X-Forwarded-Method", dice.choice(["GET", "GET", "POST", "PUT", "OPTIONS", "HEAD", "DELETE", "get"])),
            ("X-Forwarded-Host", dice.choice(self._poor_hosts() if "host" in flaws else [self.host])),
            ("X-Forwarded-Uri", dice.choice(_POOR_URIS if "uri" in flaws else _FINE_URIS)),
            ("X-Forwarded-Proto", dice.choice(["https", "ws", "", "HTTP"] if "proto" in flaws else ["http"])),
            *(("Cookie", each) for each in dice.choice(self._cookies(token, poor="cookie" in flaws))),
            *self._origin(poor="origin" in flaws),
            *dice.sample(_HARMLESS, dice.randrange(4)),
        ]
        if dice.random() < 0.3:
            dice.shuffle(fields)  # else in an order that comes again and again
        if "bytes" not in flaws and dice.random() < 0.2:
            fields = [(dice.choice([name.lower(), name.upper(), name]), value) for name, value in fields]
        path = f"/forward-auth/{self.runtime.id}"
        if "path" in flaws:
            path = dice.choice([f"/forward-auth/{self.other.id}", "/forward-auth/", "/", path + "/", path + "%00", "*"])
            path = path.replace("/forward-auth/r", "/forward-auth/%72") if dice.random() < 0.2 else path
        elif dice.random() < 0.1:
            path = dice.choice([f"http://evil.example{path}", f"{path}?x=/.clawloops/", f"https://{self.host}{path}"])
        method = dice.choice(["POST", "PUT", "OPTIONS", "DELETE"]) if "method" in flaws else "GET"
        text = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        text += "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        raw, ends = text.encode("latin-1"), False
        if "bytes" in flaws:
            raw, ends = dice.choice(_BREAKS)(raw, dice), True
        elif "body" in flaws:
            raw, ends = dice.choice(_BODIES)(raw), b"expect" in raw.lower()  # it waits for leave
        elif dice.random() < 0.1:
            raw = _insert(raw, b"Content-Length: 0")
        return Drawn(raw, not flaws, ends), session

    def _cookies(self, token: str, *, poor: bool) -> Sequence[Sequence[str]]:
        good = f"{cookies.WORKSPACE}={token}"
        if not poor:
            return [[good], [f"a=b; {good}"], [f"{good}; x"], [f"{good};  theme=dark"], ["q=1", good], [good, "q=1"]]
        return [
            [], ["a=b"], [good, good], [f"{good}; {good}"], [good[:-1]], [good + "A"], [good.lower()],
            [f"{cookies.WORKSPACE}={self.dashboard}"], [f"{cookies.SESSION}={token}"],
            [good.replace("__Host-", "__host-")], [good.replace("__Host-", "")],
            [f'{cookies.WORKSPACE}="{self.token}"'], [f"{good}, {good}"], [f"{cookies.WORKSPACE}x={self.token}"],
            ["=" + good], [f"a={good}"], [good, f"{cookies.STATE}=1"], [f"{good} x"],
        ]  # fmt: skip

    def _poor_hosts(self) -> list[str]:
        return [
            self.box.site.workspace_host(self.other.slug), self.host.upper(), self.host + "0", self.host + "/", "",
            self.host.split(":")[0], "." + self.host, f"{self.host},{self.host}", f"{self.host} x", self.host + ".",
        ]  # fmt: skip

    def _origin(self, *, poor: bool) -> list[Field]:
        own = f"http://{self.host}"
        if poor:
            wrong = self.dice.choice([["null"], ["http://evil.example"], [self.box.site.origin], [], [own, own]])
            return [("Sec-WebSocket-Key", "x"), *(("Origin", each) for each in wrong)]
        fine = [[], [], [("Origin", "http://evil.example")], [("Sec-WebSocket-Key", "x"), ("Origin", own)]]
        return self.dice.choice(fine)


_FINE_URIS = [
    "/",
    "/chat",
    "/chat",
    "/api/v1/x",
    "/x?to=//evil",
    "/a%20b",
    "/api/v2/admin/rpc",
    "/...",
    "/" + "x" * 900,
]
_POOR_URIS = [
    *("/api/v1/admin/rpc", "/api/v1/%41dmin/rpc", "/.clawloops/live", "/./.ClawLoops/x", "//API//v1/a/../admin"),
    *("chat", "", "http://x/", "*", "\x80", "/%2561pi/v1/admin"),
]
_HARMLESS: list[Field] = [
    *NAVIGATE.items(),
    *(
        ("X-Clawloops-User", "root"),
        ("Authorization", "Bearer x"),
        ("Accept-Language", "en"),
        ("Accept-Language", "de"),
    ),
    *(("X_Forwarded_Host", "evil.example"), ("X-Forwarded-Host-2", "x"), ("X_Forwarded_Uri", "/.clawloops/")),
    *(("Referer", "X-Forwarded-Uri: /x"), ("X-Long", "y" * 9000)),
    *(("X-Forwarded-For", "192.0.2.7"), ("Expect", "100-continue"), ("Forwarded", "host=evil.example;proto=https")),
]


def _insert(raw: bytes, what: bytes) -> bytes:
    return raw.replace(b"\r\nHost: ", b"\r\n" + what + b"\r\nHost: ", 1)


_Break = Callable[[bytes, random.Random], bytes]
_BREAKS: list[_Break] = [
    lambda raw, dice: _insert(raw, b"x-forwarded-" + dice.choice([b"host: a", b"URI: /", b"method: GET", b"proto: "])),
    lambda raw, _: _insert(raw, b"X-Long: " + b"y" * 40_000),
    lambda raw, _: _insert(raw, b"X: a\r\n b"),
    lambda raw, _: _insert(raw, b"X Y: z"),
    lambda raw, _: _insert(raw, b"X\x00: z"),
    lambda raw, _: _insert(raw, b"X: \x00"),
    lambda raw, _: _insert(raw, b"Content-Length: 5\r\nContent-Length: 6"),
    lambda raw, _: _insert(raw, b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
    lambda raw, _: _insert(raw, b"Transfer-Encoding: xchunked"),
    lambda raw, _: raw.replace(b"X-Forwarded-Uri: ", b"X-Forwarded-Uri:  \r\nX-Forwarded-Uri: "),
    lambda raw, _: raw.replace(b"\r\n\r\n", b"\r\r\n\r\n"),
    lambda raw, _: raw.replace(b" HTTP/1.1", b" HTTP/2.0"),
    lambda raw, _: raw.replace(b" HTTP/1.1", b""),
    lambda raw, _: raw.replace(b"X-Forwarded-Host: ", b"X_Forwarded_Host: "),
    lambda raw, dice: raw[: dice.randrange(1, len(raw) - 1)],  # the rest never comes
    lambda raw, dice: dice.randbytes(dice.randrange(1, 300)),
    lambda raw, _: b"CONNECT" + raw[3:],
]  # fmt: skip
_BODIES: list[Callable[[bytes], bytes]] = [
    lambda raw: _insert(raw, b"Content-Length: 20") + b"\r\nX-Forwarded-Uri: /",
    lambda raw: _insert(raw, b"Transfer-Encoding: chunked") + b"14\r\n\r\nX-Forwarded-Uri: /\r\n0\r\n\r\n",
]


@pytest.mark.attacks(9)
@pytest.mark.limit(240)
async def test_fuzzed_requests_pass_only_where_the_oracle_says_so(box: Box) -> None:
    fuzz = Fuzz(box, seed=20)
    await fuzz.prepare()
    dice, line, statuses = fuzz.dice, Line(box.auth_port), Counter[int]()
    earlier: list[tuple[Drawn, Session]] = []
    sent = 0
    while sent < REQUESTS:
        if dice.random() < 0.1:
            await fuzz.change()
        drawn = [dice.choice(earlier) if earlier and dice.random() < 0.4 else fuzz.draw()]
        while dice.random() < 0.1 and not drawn[-1][0].ends:
            drawn.append(fuzz.draw())  # sent together
        raw = b"".join(each.raw for each, _ in drawn)
        cut = dice.randrange(1, len(raw)) if len(raw) > 1 and dice.random() < 0.1 else len(raw)
        pieces = [each for each in (raw[:cut], raw[cut:]) if each]
        answers = await line.ask(*pieces, answers=len(drawn), within_s=0.1 if drawn[-1][0].ends else 5)
        for number, (each, session) in enumerate(drawn):
            sent += 1
            if number >= len(answers):  # what cannot be read ends the connection, with whatever waits its turn there
                assert drawn[-1][0].ends, f"request {sent} was not answered: {each.raw!r}"
                continue
            status = status_of(answers[number])
            entitled = fuzz.is_entitled(session)
            why = f"request {sent}: {status} for {each.raw!r}, {fuzz.phase}, entitled: {entitled}"
            assert (status == 200) == (each.is_good and entitled), why
            assert status in _DENIALS or status == 200, why
            statuses[status] += 1
        earlier = [*earlier[-40:], drawn[0]]
        if drawn[-1][0].ends:
            line.close()
    line.close()
    assert statuses[200] > 2500 and all(statuses[each] > 100 for each in (400, 401, 403, 404)), statuses

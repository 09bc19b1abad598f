"""Every secret of a box, planted, and looked for in all that it answers, writes and keeps; see tests/canaries.py."""

from __future__ import annotations

import fnmatch
import io
import logging
import re
import secrets
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from yarl import URL

from clawloops import support
from clawloops.clock import now_ms
from clawloops.config import Settings
from clawloops.control.factors import place_of
from clawloops.control.issuer import place_of as place_of_issuer
from clawloops.control.models import sealed_for
from clawloops.model.account import Guest, Role, User
from clawloops.model.connection import Kind
from clawloops.model.mail import MailServer, Security
from clawloops.model.runtime import Phase, Runtime
from clawloops.model.token import TokenScope
from clawloops.store import authenticators, backends, credentials, issuers, mail_server
from clawloops.store.credentials import Kept
from clawloops.store.own_keys import audit_key, decoy_key, link_key
from clawloops.web import cookies
from clawloops.web.pages import SECRET_FIELDS
from clawloops.web.routes import DASHBOARD, WORKSPACE, Proof, Route
from tests.canaries import NO_SECRETS, SECRETS, SMELL, Tried, leaks
from tests.conftest import ROOT
from tests.web import upkept
from tests.web.box import NAVIGATE, Box
from tests.web.scenes import with_models
from tests.web.sign_on import SETTINGS
from tests.web.test_account import PASSWORD, joined
from tests.web.test_handover import code_for, redeem
from tests.web.test_second_step import with_app

pytestmark = pytest.mark.limit(240)

PROVIDER_KEY, RECOVERY = "key of a provider or backend", "recovery code"
CONNECTION = "headers, variables and bot's token of a connection"
LINK = "link of an invitation, or to set the box up"
FORM, SESSION = "cookie before there is a session", "session of the dashboard"
MAIL_PASSWORD = f'mail-{secrets.token_hex(8)}/+="&<é'
AWKWARD = '/+="&<é'  # each is spelled in its own way in JSON, in HTML, in an address


@dataclass
class Field:
    """A box with a secret of every kind in it."""

    box: Box
    folder: Path
    owner: User
    member: User
    runtime: Runtime
    planted: dict[str, list[str]]

    def plant(self, name: str, *found: str) -> None:
        self.planted.setdefault(name, []).extend(found)

    async def token(self, user: User | None) -> str:
        """The cookie of a new session; without a user that of a form."""
        if user is None:
            return self.planted[FORM][0]
        token, _ = await self.box.signed_in(user)
        self.plant(SESSION, token)
        return token

    async def answers(self, route: Route, user: User | None, *, token: str = "", proves: bool = True) -> list[str]:
        """What leaks in the answer to one request of this route, with secrets in every field that is made for them.

        `token`: of a session that is there already; without one there is a new one. `proves`: who it is, once more.
        """
        token, prefix = token or await self.token(user), f"{route.method} {route.path}"
        sent = {**NAVIGATE, "Host": self.box.site.authority}
        sent["Cookie"] = f"{cookies.SESSION if user else cookies.FORM}={token}"
        data: dict[str, str] | None = None
        if route.method == "POST":
            sent |= {"Origin": self.box.site.origin, "Sec-Fetch-Site": "same-origin"}
            data = {**dict.fromkeys(SECRET_FIELDS, PASSWORD), "csrf": cookies.csrf_of(token), "login": "mia"}
            data |= {"key": self.planted[PROVIDER_KEY][0], "kind": "litellm", "provider": "openai", "url": "x y"}
            data |= {"secrets": f"X-Key: {self.planted[CONNECTION][0]}", "target": "https://mcp.example.com/mcp"}
            data |= {"code": self.planted[RECOVERY][0], "proof_code": self.planted[RECOVERY][1], "name": "A name"}
            data = {name: value for name, value in data.items() if proves or not name.startswith("proof_")}
        text = await self.ask(route.method, self._filled(route.path, posts=data is not None), sent, data)
        return [f"{prefix}: {each}" for each in leaks(text, self.planted, but=prefix)]

    async def ask(self, method: str, path: str, headers: dict[str, str], data: dict[str, str] | None = None) -> str:
        """The whole answer, with its headers; of an endless one, its beginning."""
        url = URL(f"http://127.0.0.1:{self.box.site.port}{path}", encoded=True)
        async with self.box.http.request(method, url, headers=headers, data=data, allow_redirects=False) as reply:
            heads = "".join(f"{name}: {value}\n" for name, value in reply.headers.items())
            body = await (reply.content.readany() if "event-stream" in reply.content_type else reply.read())
            return f"{reply.status}\n{heads}\n{body.decode(errors='replace')}"

    @property
    def host(self) -> str:
        return self.box.site.workspace_host(self.runtime.slug)

    def _filled(self, path: str, *, posts: bool) -> str:
        """What is changed is nothing that exists: the box stays as it is until everything was looked at."""
        link = self.planted["link for a new password" if path.startswith("/reset") else LINK][0]
        known = {"name": "app.css", "token": link, "rest": "x"}
        if not posts:
            known["id"] = {"names": "m-qwen3:8b", "library": "b1"}.get(f"{path}//".split("/")[2], self.runtime.id)
        return re.sub(r"{(\w+)[^}]*}", lambda found: known.get(found[1], "x1"), path)

    def kept(self) -> str:
        """Every byte below the data folder, the database's own among them."""
        files = (each for each in self.folder.rglob("*") if each.is_file())
        return "\n".join(each.read_bytes().decode("latin-1") for each in files)

    async def rows(self) -> str:
        """Every value of the database, and those that are bytes in both ways to print them."""
        told = []
        for table in await self.box.db.fetch("SELECT name FROM sqlite_master WHERE type = 'table'"):
            for row in await self.box.db.fetch(f"SELECT * FROM {table['name']}"):
                for value in row.values():
                    told.append(str(value))
                    if isinstance(value, bytes):
                        told += [value.decode("latin-1"), value.hex()]
        return "\n".join(told)


@pytest.fixture
async def field(box: Box, tmp_path: Path) -> AsyncIterator[Field]:
    owner, member = await joined(box, "olga", Role.OWNER), await joined(box, "mia")
    await with_models(box)
    await box.workspace(owner)
    found = Field(box, tmp_path, owner, member, await box.workspace(member, Phase.BOOT), {})
    found.plant("master key", box.master.hex())
    found.plant("key of the audit's chain", (await audit_key(box.db, box.sealer)).hex())
    found.plant("password of a member", PASSWORD)
    found.plant(FORM, secrets.token_urlsafe(32))
    found.plant(PROVIDER_KEY, await _with_provider_key(box))
    found.plant(CONNECTION, *await _with_connections(box, member))
    found.plant("token of a webhook", await box.hooks.enable(found.runtime.id, member))
    _, key = await box.keys.make(name="laptop", models=[], days=0, by=member)
    found.plant("key for own tools", key)
    scopes = {TokenScope.ME_READ}
    found.plant("token for programs", await box.tokens.make(name="laptop", scopes=scopes, days=9, by=member))
    found.plant("key that decoys are made with", (await decoy_key(box.db, box.sealer)).hex())
    link = await box.invitations.invite(role=Role.MEMBER, note="Ben", by=owner)
    found.plant(LINK, link.rpartition("/")[2], await _mailed(box, owner))
    found.plant("key that links in e-mails are made with", (await link_key(box.db, box.sealer)).hex())
    password = await box.resets.make(member.id, drops_factors=False, by=owner)
    found.plant("link for a new password", password.rpartition("/")[2])
    found.plant("password of the mail server", MAIL_PASSWORD)
    secret, codes = await with_app(box, member)
    app = await authenticators.get(box.db, member.id)
    assert app is not None and box.sealer.open(app.sealed, **place_of(member.id)) == secret
    found.plant("secret of an authenticator app", secret)
    found.plant(RECOVERY, *codes, *(each.replace("-", "") for each in codes))
    found.plant("client secret of the identity provider", await _with_issuer(box))
    await _hand_over(found)
    box.show(found.runtime, Phase.READY, address="127.0.0.1")
    yield found


async def _mailed(box: Box, owner: User) -> str:
    """The token of an invitation that waits to be sent by e-mail, through a server whose password is kept."""
    server = MailServer("127.0.0.1", 1, Security.STARTTLS, "box", "box@example.com")
    await mail_server.put(box.db, box.sealer, server, MAIL_PASSWORD)
    await box.mailing.load()
    await box.invitations.invite_by_mail([Guest("Ken", email="ken@example.com")], by=owner, language="en")
    (waiting,) = await box.invitations.deliveries()
    _, _, link = await box.invitations.to_send(waiting.invitation_id)
    await box.mailing.deliver()  # nobody is there, which is said beside it
    return link.rpartition("/")[2]


async def _with_provider_key(box: Box) -> str:
    key = f"sk-{secrets.token_hex(8)}{AWKWARD}{secrets.token_hex(8)}"
    backend = next(each for each in await backends.all(box.db) if each.id == "b2")
    place = {"table": credentials.TABLE, "provider": sealed_for(backend), "owner": backend.id}
    sealed = box.sealer.seal(key, credential_id="c1", version=1, **place)
    await credentials.add(box.db, Kept(sealed, backend.id, "", key[-4:], None, now_ms()))
    await box.models.load()  # opens it: from now on it is in memory
    return key


async def _with_issuer(box: Box) -> str:
    """One that never answers: what it is told is in tests/oidc."""
    secret = f"{secrets.token_hex(8)}{AWKWARD}{secrets.token_hex(8)}"
    issuer = replace(SETTINGS, url="http://127.0.0.1:1")
    sealed = box.sealer.seal(secret, credential_id=issuers.ID, version=1, **place_of_issuer(issuer))
    await issuers.put(box.db, issuer, sealed, now_ms())
    await box.issuers.load()  # opens it
    return secret


async def _with_connections(box: Box, member: User) -> list[str]:
    header, variable = (f"{secrets.token_hex(8)}/+=&<{secrets.token_hex(8)}" for _ in range(2))
    token = f"123456789:{secrets.token_urlsafe(27)}"
    add = box.connections.add_server
    await add(kind=Kind.HTTP, name="far", target="https://mcp.example.com/", secrets={"X-Key": header}, by=member)
    await add(kind=Kind.COMMAND, name="near", target="python3 near.py", secrets={"API_KEY": variable}, by=member)
    await box.connections.set_telegram(token=token, people="4242", by=member)
    return [header, variable, token]


async def _hand_over(found: Field) -> None:
    box, host = found.box, found.host
    token = await found.token(found.member)
    state, query = await code_for(box, host, token)
    _, _, cookie = await redeem(box, host, query, state)
    unused, again = await code_for(box, host, token)
    found.plant("code of a hand-over", parse_qs(query)["code"][0], parse_qs(again)["code"][0])
    found.plant("session of a workspace", cookie)
    found.plant(FORM, state, unused)


@pytest.mark.attacks(19)
async def test_no_page_and_no_refusal_tells_a_secret(field: Field) -> None:
    assert set(field.planted) == {each.name for each in SECRETS if Tried.BOX in each.tried}
    told: list[str] = []
    for user in (None, field.member, field.owner):
        for route in DASHBOARD:
            told += await field.answers(route, user)
    stale = await field.token(field.owner)
    await field.box.db.execute("UPDATE sessions SET proved_at = 0")
    await field.box.sessions.load()
    for route in (each for each in DASHBOARD if each.proof is Proof.ASKED):  # a page in between keeps what was sent
        told += await field.answers(route, field.owner, token=stale, proves=False)
    assert told == []


@pytest.mark.attacks(19)
async def test_nothing_on_a_workspaces_host_tells_a_secret(field: Field) -> None:
    told: list[str] = []
    for route in WORKSPACE:
        for cookie in ("", field.planted["session of a workspace"][0]):
            sent = {**NAVIGATE, "Host": field.host, **({"Cookie": f"{cookies.WORKSPACE}={cookie}"} if cookie else {})}
            told += leaks(await field.ask("GET", re.sub(r"{.*}", "app.css", route.path), sent), field.planted)
    for path, name, secret in (
        ("/hooks/agent", "Authorization", f"Bearer {field.planted['token of a webhook'][0]}"),
        (f"/.clawloops/cb?to=/&code={field.planted['code of a hand-over'][1]}", "X-Nothing", ""),
    ):
        for method in ("GET", "POST"):
            told += leaks(await field.ask(method, path, {"Host": field.host, name: secret}), field.planted)
    assert told == []


@pytest.mark.attacks(19)
async def test_the_database_and_the_data_folder_hold_none_that_can_be_read(field: Field) -> None:
    found = {**field.planted, "as a control": [field.owner.login, field.runtime.slug]}
    for text in (await field.rows(), field.kept()):
        assert {each.partition(" (")[0] for each in leaks(text, found)} == {"as a control"}


@pytest.mark.attacks(19)
async def test_the_log_tells_none_even_of_faults_that_nobody_foresaw(field: Field, said: io.StringIO) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    token = field.planted[SESSION][0]
    await _damage(field.box)
    told: list[str] = []
    for route in DASHBOARD:
        told += await field.answers(route, None)
        told += await field.answers(route, field.member, token=token)
    webhook = {"Host": field.host, "Authorization": f"Bearer {field.planted['token of a webhook'][0]}"}
    told += leaks(await field.ask("POST", "/hooks/agent", webhook), field.planted)
    assert told == []
    written = said.getvalue()
    assert written.count("Traceback") > 40 and "/join/…" in written, "the faults were to be told"
    assert leaks(written, field.planted) == []
    hashes = [sha256(each.encode()).digest() for found in field.planted.values() for each in found]
    assert [each for each in hashes if repr(each)[2:-1] in written or each.hex() in written] == []


@pytest.mark.attacks(19)
async def test_the_support_bundle_tells_none_and_nobodys_name(field: Field, said: io.StringIO) -> None:
    owner = await field.token(field.owner)
    for route in DASHBOARD:
        await field.answers(route, field.owner, token=owner)
    key = field.planted[PROVIDER_KEY][0]
    await field.box.db.execute("UPDATE runtimes SET failure = $1", f"a backend refused {key}")
    logging.getLogger("clawloops.test").warning("the key of %s is %s", field.member.login, key)
    (field.folder / "log").mkdir(exist_ok=True)
    (field.folder / "log" / "clawloops.log").write_text(said.getvalue())
    made = await support.bundle(upkept.settings(field.folder))
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        files = [archive.extractfile(each) for each in archive.getmembers()]
        text = "\n".join(each.read().decode() for each in files if each is not None)
    assert "refused GET" in text and "a backend refused [secret]" in text, "there was something to be told"
    assert leaks(text, {**field.planted, "a name": [field.member.login + '"', field.runtime.slug]}) == []
    assert not re.search(r"\b(mia|olga)\b", text, re.I)


async def _damage(box: Box) -> None:
    """From now on whatever needs the store fails as no handler expects."""
    tables = await box.db.fetch("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
    await box.db.execute("PRAGMA foreign_keys = OFF")
    for table in tables:
        await box.db.execute(f"DROP TABLE {table['name']}")


async def test_each_column_and_setting_that_smells_of_a_secret_stands_in_the_table(box: Box) -> None:
    found: list[str] = [each.name for each in fields(Settings)]
    for table in await box.db.fetch("SELECT name FROM sqlite_master WHERE type = 'table'"):
        for column in await box.db.fetch(f"PRAGMA table_info({table['name']})"):
            found.append(f"{table['name']}.{column['name']}")
    known = {place for each in SECRETS for place in (*each.columns, *each.settings)}
    smelly = {each for each in found if SMELL.search(each.rpartition(".")[2])}
    assert smelly - known - NO_SECRETS.keys() == set(), "add them to SECRETS or to NO_SECRETS of tests/canaries.py"
    assert (known | NO_SECRETS.keys()) - set(found) == set(), "these are no more"
    assert known & NO_SECRETS.keys() == set()


def test_each_secret_that_an_install_makes_stands_in_the_table() -> None:
    installer = "\n".join(each.read_text() for each in (ROOT / "install.d").glob("*.sh"))
    made = set(re.findall(r'(?:need_secret|keep_private)[^\n]* "\$DATA/([^"]+)"', installer))
    globs = [glob for each in SECRETS for glob in each.files]
    assert len(made) >= 5
    assert {each for each in made if not any(fnmatch.fnmatch(each, glob) for glob in globs)} == set()

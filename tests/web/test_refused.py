"""Bad input on every form: what is wrong stands beside its field, and what was typed is there again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser

import aiohttp
import pytest

from clawloops.bench.peers import free_port
from clawloops.clock import now_ms
from clawloops.model.account import Role
from clawloops.model.mail import MailServer, Security
from clawloops.store import mail_server, volumes
from clawloops.web import cookies
from clawloops.web.pages import SECRET_FIELDS
from clawloops.web.routes import DASHBOARD
from tests.bad_input import CASES, Bad
from tests.web import scenes
from tests.web.box import NAVIGATE, Box, serve
from tests.web.shop import Shop
from tests.web.test_account import joined

FORMS = {route.path for route in DASHBOARD if route.again is not None}
ELSEWHERE = {
    **dict.fromkeys(("/sign-in/second", "/account/app/confirm"), "test_second_step"),
    **dict.fromkeys(("/sign-in/passkey", "/account/passkeys"), "test_passkeys"),
    **dict.fromkeys(("/first-run/model", "/first-run/model/pull"), "test_first_run"),
    "/workspace/files/import": "test_shelf",
    "/models/library/{id}/import": "below",
}
"""What begins with a device, an app, an empty box or a file: where it is shown."""

BUTTONS = {f"/models/library/{{id}}/{each}" for each in ("load", "unload", "offer", "remove")} | {
    "/workspace/connections/{id}/switch"
}
"""Nothing is typed there."""


class Read(HTMLParser):
    """What a page holds of its fields, and what it says in alarm."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.fields: list[dict[str, str]] = []
        self.notes: dict[str, str] = {}
        self.alerts: list[str] = []
        self._texts: list[tuple[str, str, list[str]]] = []  # what is open: its tag, what it is, what it says
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        match tag:
            case "input" | "select":
                is_box = given.get("type") in ("checkbox", "radio")
                value = given.get("value", "on" if is_box else "")
                self.fields.append({**given, "value": "" if is_box and "checked" not in given else value})
            case "option" if "selected" in given or not self.fields[-1]["value"]:
                self.fields[-1]["value"] = given.get("value", "")
            case "textarea":
                self.fields.append(given)
                self._texts.append((tag, "", []))
            case "p" | "div" if "error" in given.get("class", "").split() or given.get("role") == "alert":
                self._texts.append((tag, given.get("id", "") if "error" in given.get("class", "") else "!", []))

    def handle_endtag(self, tag: str) -> None:
        if self._texts and self._texts[-1][0] == tag:
            _, what, said = self._texts.pop()
            text = "".join(said).strip()
            if tag == "textarea":
                self.fields[-1]["value"] = text
            elif what == "!":
                self.alerts.append(text)
            else:
                self.notes[what] = text

    def handle_data(self, data: str) -> None:
        for _, _, said in self._texts:
            said.append(data)

    def wrong(self) -> dict[str, str]:
        """By the name of each field that is marked as wrong, what stands beside it."""
        return {
            each.get("name", ""): self.notes.get(each.get("aria-describedby", ""), "")
            for each in self.fields
            if each.get("aria-invalid") == "true"
        }

    def holds(self, name: str, value: str) -> bool:
        return any(each.get("name") == name and each.get("value") == value for each in self.fields)


@dataclass
class Scene:
    box: Box
    token: str
    ids: dict[str, str] = field(default_factory=dict)


@pytest.fixture
async def scene(box: Box) -> AsyncIterator[Scene]:
    shop = await serve(Shop().app(), free_port())
    olga = await joined(box, "olga", Role.OWNER)
    await scenes.with_models(box, f"http://127.0.0.1:{shop.addresses[0][1]}")
    await scenes.with_people(box, olga)
    await scenes.with_groups(box, olga)
    await scenes.with_budgets(box, olga)
    await scenes.with_connections(box, olga)
    server = MailServer("127.0.0.1", 1, Security.STARTTLS, "box", "box@example.com")
    await mail_server.put(box.db, box.sealer, server, "a password")
    await box.mailing.load()
    mine = await volumes.used(box.db, await box.workspace(olga), image="img", now=now_ms())
    number = await volumes.begin(box.db, mine.id, note="before", image="img", now=now_ms())
    await volumes.keep_as_snapshot(box.db, mine.id, number, size=3_400_000)
    linus = next(each for each in box.accounts.members() if each.login == "linus")
    theirs = await box.runtimes.of_owner(linus.id)
    assert theirs is not None
    ids = {
        "backend": "b1",
        "name": "m-qwen3:8b",
        "upstream": "qwen3:8b",
        "weights": "my-model:latest",
        "linus": linus.id,
        "workspace": theirs.id,
        "snapshot": str(number),
        "group": (await box.groups.all())[0].id,
        "budget": (await box.budgets.all())[0].id,
        "connection": (await box.connections.of(olga))[0].id,
        "invitation": (await box.invitations.invite(role=Role.MEMBER, note="", by=olga)).rpartition("/")[2],
        "reset": (await box.resets.make(linus.id, drops_factors=False, by=olga)).rpartition("/")[2],
    }
    yield Scene(box, (await box.signed_in(olga))[0], ids)
    await shop.cleanup()


async def _send(scene: Scene, case: Bad, sent: Mapping[str, str]) -> aiohttp.ClientResponse:
    path = case.path.format_map(scene.ids)
    if case.is_known:
        return await scene.box.send(path, scene.token, **sent)
    shown = await scene.box.page(path)
    given = shown.headers["Set-Cookie"].split(";")[0]
    headers = {**NAVIGATE, "Origin": scene.box.site.origin, "Sec-Fetch-Site": "same-origin", "Cookie": given}
    data = {"csrf": cookies.csrf_of(given.split("=", 1)[1]), **sent}
    return await scene.box.ask("POST", path, headers=headers, data=data)


def test_every_form_is_here_or_elsewhere() -> None:
    here = {route for route in FORMS if any(case.covers(route) for case in CASES)}
    assert here.isdisjoint(ELSEWHERE) and here | set(ELSEWHERE) | BUTTONS == FORMS


async def test_what_is_wrong_stands_beside_its_field_and_what_was_typed_is_there(scene: Scene) -> None:
    for case in CASES:
        sent = {name: value.format_map(scene.ids) for name, value in case.sent.items()}
        reply = await _send(scene, case, sent)
        read = Read(await reply.text())
        assert reply.status == case.status, case.path
        told = read.wrong().get(case.wrong) if case.wrong else " ".join(read.alerts)
        assert told, f"{case.path}: nothing is said of {case.wrong!r}, but {read.wrong()}, {read.alerts}"
        lost = [name for name, value in sent.items() if name not in SECRET_FIELDS and not read.holds(name, value)]
        assert case.is_choice or not lost, f"{case.path}: {lost} were typed"


@pytest.mark.parametrize(
    ("name", "content", "wrong"), [("my model!", b"GGUF", "name"), ("mine", b"none", "file"), ("mine", b"", "file")]
)
async def test_a_file_that_is_none_is_told_beside_its_field_and_the_name_is_kept(
    scene: Scene, name: str, content: bytes, wrong: str
) -> None:
    form = aiohttp.FormData({"csrf": cookies.csrf_of(scene.token), "name": name})
    form.add_field("file", content, filename="m.gguf")
    headers = {**NAVIGATE, "Origin": scene.box.site.origin, "Cookie": f"{cookies.SESSION}={scene.token}"}
    reply = await scene.box.ask("POST", "/models/library/b1/import", headers=headers, data=form)
    read = Read(await reply.text())
    assert reply.status == 400 and read.wrong()[wrong], (read.wrong(), read.alerts)
    assert read.holds("name", name) and read.holds("model", ""), "the field of the pull stays empty"

"""A box with people, models, budgets and work in it, for the pages to be drawn with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from playwright.async_api import Page

from clawloops.clock import now_ms
from clawloops.control import totp
from clawloops.control.issuer import place_of
from clawloops.gateway.budgets import Payer
from clawloops.model.account import Role, User
from clawloops.model.budget import Measure, Scope, Span
from clawloops.model.connection import Kind
from clawloops.model.decoy import Consequence, Decoy
from clawloops.model.decoy import Place as Used
from clawloops.model.egress import Outcome
from clawloops.model.factor import Passkey
from clawloops.model.issuer import FirstLogin, Identity, Issuer, Rule
from clawloops.model.provider import Backend, BackendKind, Grants, Model, Place
from clawloops.model.report import DAY_MS, Month
from clawloops.model.runtime import Phase, Runtime
from clawloops.model.token import TokenScope
from clawloops.model.usage import Call, Price, Tokens
from clawloops.model.workspace import JobState
from clawloops.store import backends, events, identities, issuers, jobs, models, passkeys, volumes
from clawloops.store import runtimes as rows
from tests.web.box import IMAGE, Box
from tests.web.test_account import PASSWORD


async def with_models(box: Box, ollama: str = "http://ollama:11434") -> None:
    made = [
        (Backend("b1", "Ollama", BackendKind.OLLAMA, ollama, "", 1), ("qwen3:8b", "llama3.3:70b")),
        (Backend("b2", "anthropic", BackendKind.LITELLM, "", "anthropic", 2), ("claude-sonnet-4-5",)),
    ]
    for backend, names in made:
        await backends.add(box.db, backend)
        for name in names:
            model = Model(f"m-{name}", name, (Place(backend.id, name),), 32_768, 8192, name == "qwen3:8b", 1)
            await models.add(box.db, model)
    await box.models.load()


async def with_an_empty_ollama(box: Box, address: str) -> Backend:
    made = Backend("b0", "Ollama", BackendKind.OLLAMA, address, "", 1)
    await backends.add(box.db, made)
    return made


async def with_people(box: Box, owner: User) -> None:
    for login, name in (("grace", Role.ADMIN), ("linus", Role.MEMBER), ("mallory", Role.MEMBER)):
        user = await box.member(login, name)
        runtime = await box.workspace(user, Phase.STOPPED)
        box.journal.append(
            Call(
                user.id.ljust(32, "0"),
                *(now_ms(), user.id, runtime.id),
                "qwen3:8b",
                "b1",
                Tokens(len(login) * 91_234, 20_211),
                200,
                640,
                450_000,
            )
        )
    mallory = next(each for each in box.accounts.members() if each.login == "mallory")
    await box.accounts.disable(mallory.id, by=owner)
    await box.invitations.invite(role=Role.MEMBER, note="Ken, design team", by=owner)


def opened(selector: str) -> str:
    return f"for (const each of document.querySelectorAll('{selector}')) each.open = true"


async def with_groups(box: Box, owner: User) -> None:
    people = {each.login: each.id for each in box.accounts.members()}
    group = await box.groups.make("Design team", {people["grace"], people["linus"]}, by=owner)
    model = box.models.get("m-llama3.3:70b")
    places = (*model.places, Place("b2", "claude-haiku-4-5"))
    await box.models.change(
        replace(model, places=places, is_open=False), Grants(frozenset({owner.id}), frozenset({group.id})), by=owner
    )
    for _ in range(6):
        box.health.failed("b2", "Name or service not known", time.monotonic(), at=now_ms())


async def with_keys(box: Box, owner: User) -> None:
    await box.keys.make(name="Claude Code on the laptop", models=[], days=90, by=owner)
    await box.keys.make(name="CI", models=["qwen3:8b", "llama3.3:70b"], days=0, by=owner)
    used = next(each.key.id for each in await box.keys.of(owner) if each.key.name == "CI")
    counted = Tokens(1_204_331, 88_120)
    box.journal.append(Call("e" * 32, now_ms(), owner.id, "", "qwen3:8b", "b1", counted, 200, 5, 9, used))
    await box.ledger.fold()


async def with_usage(box: Box) -> None:
    """A month in which some days were quiet; this box's own model did most of it."""
    box.reports.prices._table = {"gpt-4o": ("openai", Price(2_500_000, 10_000_000, 1_250_000))}
    people = box.accounts.members()
    await box.reports.prices.compare_with("gpt-4o", by=people[0])
    month = Month.around(now_ms())
    for day in month.days:
        for number, person in enumerate(people):
            if (day * 7 + number * 3) % 5 == 0:
                continue
            sent = 4_000 * (1 + (day * 31 + number * 17) % 23)
            is_own = (day + number) % 4 != 0
            name, cost = ("qwen3:8b", 0) if is_own else ("claude-haiku-4-5", sent * 2)
            tokens = Tokens(sent, sent // 9)
            first_ms, held_ms, energy_mwh = 80 + sent // 9, sent * 2 * is_own, sent * is_own
            call = Call(
                *(
                    f"{day:016x}{number:016x}",
                    day * DAY_MS + 1,
                    person.id,
                    "",
                    name,
                    "b1",
                    tokens,
                    200,
                    first_ms,
                    9_000,
                ),
                held_ms=held_ms,
                cost=cost,
                energy_mwh=energy_mwh,
            )
            box.journal.append(call)
    await box.ledger.fold()


async def with_queue(box: Box) -> None:
    """Somebody is answered by `b1`, which serves one at once; others wait, one of them with background work."""
    backend = await box.backends.get("b1")
    for number, person in enumerate(box.accounts.members()):
        entering = box.queue.enter(backend, person.id, "qwen3:8b", is_background=number == 2)
        box.keeping.add(asyncio.create_task(entering))
        await asyncio.sleep(0)


async def with_tokens(box: Box, owner: User) -> None:
    await box.tokens.make(name="Backup script on the NAS", scopes=[TokenScope.WORKSPACE_WRITE], days=90, by=owner)
    await box.tokens.make(name="Monitoring", scopes=[TokenScope.ME_READ, TokenScope.ADMIN_READ], days=365, by=owner)


async def with_connections(box: Box, owner: User) -> None:
    """One that is allowed, one that is not yet, one that is off, and a bot."""
    add, at = box.connections.add_server, "https://mcp.example.org/mcp"
    await add(kind=Kind.HTTP, name="docs", target=at, secrets={"Authorization": "Bearer x"}, by=owner)
    at = "https://tools.a-rather-long-name-of-a-host.in-some-region.cloud.example.com:8443/v1/mcp/streamable"
    await add(kind=Kind.SSE, name="tickets", target=at, secrets={"X-Team": "a", "X-Key": "b"}, by=owner)
    command = "python3 /home/node/servers/notes.py --folder '/home/node/my notes'"
    notes = await add(kind=Kind.COMMAND, name="notes", target=command, secrets={}, by=owner)
    await box.connections.switch(notes.id, on=False, by=owner)
    await box.connections.set_telegram(token="123456789:" + "A" * 35, people="123456789", by=owner)


async def with_egress(box: Box, owner: User) -> None:
    """A list of one's own, what was reached, and a question that waits."""
    for place, allows in (("*.example.org", True), ("git.example.com:22", True), ("tracker.example.net", False)):
        await box.egress.add(owner.id, place, allows=allows, by=owner)
    for host, port, outcome in (
        ("api.github.com", 443, Outcome.PASSED),
        ("en.wikipedia.org", 443, Outcome.PASSED),
        ("a-rather-long-name-of-a-host.in-some-region.cloud.example.com", 8443, Outcome.UNLISTED),
        ("nas.example.net", 443, Outcome.PRIVATE),
    ):
        address = "93.184.215.14" if outcome is Outcome.PASSED else ""
        box.egress.receipts.note(owner.id, host, port, outcome, address=address)
    box.egress.receipts.moved(owner.id, "api.github.com", 443, sent=48_211, received=9_120_334)
    asked = asyncio.create_task(box.egress.asking.ask(owner.id, "packages.example.com", 443, is_over=lambda: False))
    box.keeping.add(asked)
    await asyncio.sleep(0)


WHY_AWAKE = "A model is answering; it sleeps after 15 minutes without use."
WHY_ASLEEP = "It was paused because nobody used it for 15 minutes."


async def row_of(box: Box, runtime: Runtime) -> Runtime:
    row = await rows.get(box.db, runtime.id)
    assert row is not None
    return row


async def with_history(box: Box, runtime: Runtime) -> None:
    told: list[tuple[str, str, int | None]] = [
        ("makenetwork", "its private network was made", 412),
        ("create", "its container was made", 780),
        ("start", "its container was started", 340),
        ("ready", "OpenClaw is ready", 9120),
        ("sleep", WHY_ASLEEP, None),
        ("pause", "it was frozen", 21),
        ("wake", "It was woken: its pages were opened.", 19),
        ("failed", "OpenClaw needed more memory than its limit of 2048 MiB and was ended", None),
        ("start", "its container was started", 310),
        ("ready", "OpenClaw is ready", 8904),
    ]
    for minute, (kind, text, took_ms) in enumerate(told):
        at = now_ms() - (len(told) - minute) * 47 * 60_000
        await events.add(box.db, runtime.id, at=at, kind=kind, text=text, took_ms=took_ms)


def with_log(box: Box, runtime: Runtime) -> None:
    """A start, some turns, a crash with a traceback, and what a hostile agent prints."""
    box.printed.say(
        runtime.id,
        "\x1b[36m[gateway]\x1b[0m starting; state in /home/node/.openclaw",
        "[gateway] listening on 0.0.0.0:18789",
        "[models] model catalogue: qwen3:8b, llama3.3:70b",
        *(
            f"[agent] turn {number} of session main: answered by model qwen3:8b in {900 + number * 37} ms"
            for number in range(30)
        ),
    )
    box.printed.say(
        runtime.id,
        "Error: connect ECONNREFUSED 127.0.0.1:5432",
        "    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1611:16)",
        "https://example.com/" + "a-path-without-an-end/" * 30,
        is_error=True,
    )
    box.printed.say(runtime.id, "<script>alert(1)</script> \u202etxt.exe \x00 key=clk_" + "A" * 43)


async def with_files(box: Box, owner: User, runtime: Runtime) -> None:
    row = await volumes.used(box.db, await row_of(box, runtime), image=IMAGE, now=now_ms())
    for note, size in (("Before the big clean-up", 341_000_000), ("Snapshot", 298_000_000), ("Old one", 12_000_000)):
        number = await volumes.begin(box.db, row.id, note=note, image=IMAGE, now=now_ms() - size)
        await volumes.keep_as_snapshot(box.db, row.id, number, size=size)
    await box.workspaces.put_away(row.id, number, by=owner)
    done = await box.workspaces.export(row.id, by=owner)
    await jobs.note(
        box.db, done.id, JobState.DONE, "The file is ready (88 MiB). It is kept for 24 hours.", now=now_ms()
    )
    await box.workspaces.snapshot(row.id, "Before the upgrade", by=owner)


async def with_inspections(box: Box, owner: User, runtime: Runtime, other: Runtime) -> None:
    """The owner has another workspace open, and somebody who became an owner too theirs; two that ended before."""
    _, session = await box.signed_in(owner)
    for why in ("Grace is ill, and a customer waits for the report", "Grace asked me to look at a failing job"):
        ended = await box.inspections.open(other, by=owner, session=session, reason=why, minutes=60)
        await box.inspections.note_entry(ended, at=now_ms())
        await box.inspections.end(ended.id, by=box.accounts.get(other.owner))
    await box.inspections.open(other, by=owner, session=session, reason="To see why it burns tokens", minutes=15)
    second = await box.member("barbara", Role.OWNER)
    _, session = await box.signed_in(second)
    await box.inspections.open(runtime, by=second, session=session, reason="The agent sends odd mail", minutes=240)


async def with_budgets(box: Box, owner: User) -> None:
    """Some set, one nearly used up, one used up, and a workspace that goes in circles."""
    grace = next(each for each in box.accounts.members() if each.login == "grace")
    group = (await box.groups.all())[0]
    for scope, subject, measure, span, amount, is_background in (
        (Scope.EACH, "", Measure.TOKENS, Span.MONTH, 2_000_000, False),
        (Scope.BOX, "", Measure.COST, Span.MONTH, 50_000_000, False),
        (Scope.GROUP, group.id, Measure.GPU_MS, Span.DAY, 3_600_000, True),
        (Scope.MEMBER, grace.id, Measure.REQUESTS, Span.DAY, 3, False),
    ):
        await box.budgets.add(scope, subject, measure, span, amount, is_background=is_background, by=owner)
    for number in range(3):
        tokens = Tokens(400_000, 9_000)
        call = Call(f"{number:032x}", now_ms(), grace.id, "r", "claude-sonnet-4-5", "b2", tokens, 200, 5, 9)
        call = replace(call, cost=14_120_000, held_ms=61_000, energy_mwh=4_200)
        box.journal.append(call)
        box.budgets.gateway.settled(call, Payer(grace.id, "", "m-claude-sonnet-4-5", is_background=False))


async def with_used_decoys(box: Box, own: Runtime, other: Runtime) -> None:
    """One at several places, which has stopped it, and one from which admins are told alone."""
    decoy = box.decoy_keys.make(Decoy(other.id, 1, 0))
    box.decoys.spot(decoy, Used.GATEWAY, other.id)
    for _ in range(1203):
        box.decoys.spot(decoy, Used.TOOLS, "203.0.113.9")
    box.decoys.spot(decoy, Used.SIGN_IN, "2001:db8:85a3:8d3:1319:8a2e:370:7348")
    await box.decoys.set_consequence(Consequence.ALARM, by=box.accounts.get(own.owner))
    box.decoys.spot(box.decoy_keys.make(Decoy(own.id, 1, 0)), Used.INTERNET, own.id)


async def with_factors(box: Box, owner: User) -> None:
    """Two passkeys, an app, and some recovery codes used; others have one as well."""
    _, session = await box.signed_in(owner)
    grace = next(each for each in box.accounts.members() if each.login == "grace")
    for number, (user, name) in enumerate(((owner, "Laptop"), (owner, "Phone"), (grace, "Security key"))):
        at, tag = now_ms() - number * 86_400_000, b"%d" % number
        await passkeys.add(box.db, Passkey(f"p{number}", user.id, tag, b"key", b"handle", 0, name, at, at * number))
    setup = box.factors.begin_app(by=owner, session=session)
    code = totp.code_of(setup.secret, now_ms() // totp.STEP_MS)
    for used in (await box.factors.confirm_app(code, by=owner, session=session))[:8]:
        await box.factors.check_code(used, of=owner, address="192.0.2.7")


async def with_issuer(box: Box, owner: User) -> None:
    """Set up, and linked to two accounts; it never answers."""
    grace = next(each for each in box.accounts.members() if each.login == "grace")
    team = (await box.groups.all())[0]
    rules = (Rule("agents", Role.MEMBER, team.id), Rule("operators", Role.ADMIN))
    issuer = Issuer(
        url="https://auth.example.org", client_id="clawloops", label="Authentik", scopes="openid profile email groups",
        ca="", first_login=FirstLogin.MEMBERS, groups_claim="groups", domains=("example.org",), rules=rules,
        is_only=False,
    )  # fmt: skip
    sealed = box.sealer.seal("secret", credential_id=issuers.ID, version=1, **place_of(issuer))
    await issuers.put(box.db, issuer, sealed, now_ms())
    for user in (owner, grace):
        said = f"{user.login}@example.org"
        await identities.add(box.db, Identity(issuer.url, user.login, user.id, said, now_ms(), now_ms()))
    await box.issuers.load()


def sending(form: str) -> Callable[[Page], Awaitable[None]]:
    """Goes on to what a form on the page leads to."""

    async def go(page: Page) -> None:
        async with page.expect_navigation():
            await page.evaluate(f"""document.querySelector('form[action="{form}"]').submit()""")

    return go


def filling(form: str, fields: dict[str, str]) -> Callable[[Page], Awaitable[None]]:
    """Sends a form of the page with these fields."""

    async def go(page: Page) -> None:
        for name, value in fields.items():
            await page.locator(f"form{form} [name={name}]").fill(value)
        async with page.expect_navigation():
            await page.locator(f"form{form} button").click()

    return go


def halfway(login: str) -> Callable[[Page], Awaitable[None]]:
    """From the sign-in page to the second step."""

    async def go(page: Page) -> None:
        await page.get_by_label("Login").fill(login)
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await page.wait_for_url("**/sign-in/second")

    return go

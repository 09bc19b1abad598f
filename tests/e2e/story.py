"""The main job as a story: each step is lived once for an appliance, and every test begins where it needs."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from playwright.sync_api import Browser, Page

from tests.e2e import tiny_model
from tests.e2e.appliance import HTTPS, Appliance, docker
from tests.e2e.browser import chromium, person
from tests.e2e.by_keyboard import ByKeyboard
from tests.e2e.chat import Answer, Chat
from tests.e2e.dashboard import Account, Dashboard
from tests.e2e.upstream_process import Upstream, upstream_at

OWNER = Account("Ada Owner", "ada", "correct horse battery")
MEMBER = Account("Max Member", "max", "staple under the stairs")
CLOUD_MODEL = "team-cloud"
CLOUD_WORDS = 40
BOOT_LIMIT_S = 120.0
CHAT_LIMIT_S = 120.0


@dataclass
class Story:
    """`reach(step)` lives every step up to it. A step that failed fails every test behind it, with its reason."""

    appliance: Appliance
    shots: Path
    folder: Path
    told: dict[str, object] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    provider_key: str = field(default_factory=lambda: "sk-canary-" + secrets.token_hex(16))

    def __post_init__(self) -> None:
        self._stack = ExitStack()
        self._failed: BaseException | None = None
        self._pictures = 0

    @cached_property
    def steps(self) -> dict[str, Callable[[], object]]:
        return {
            "installed": self._install,
            "owned": self._own,
            "ollama": self._connect_ollama,
            "provider": self._connect_provider,
            "invited": self._invite,
            "joined": self._join,
            "opened": self._open,
            "chatted": self._chat,
            "chatted through LiteLLM": self._chat_through_litellm,
            "made a key": self._make_key,
        }

    def reach(self, last: str) -> object:
        """Returns what that step told."""
        for name, step in self.steps.items():
            if name not in self.told:
                if self._failed:
                    raise AssertionError(f"an earlier step failed: {self._failed}") from self._failed
                try:
                    self.told[name] = step()
                except BaseException as error:
                    self._failed = error
                    self._picture_of_failure(name)
                    raise
            if name == last:
                return self.told[name]
        raise LookupError(last)

    def close(self) -> None:
        self._stack.close()

    def picture(self, page: Page, name: str) -> None:
        self._pictures += 1
        self.shots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=self.shots / f"{self._pictures:02d}-{name}.png")

    def _picture_of_failure(self, step: str) -> None:
        for who in ("owner", "member"):
            window: Dashboard | None = self.__dict__.get(who)
            if window is not None:
                try:
                    self.picture(window.page, f"FAILED-{step.replace(' ', '-')}-{who}")
                except Exception as error:  # noqa: BLE001 - the failure itself matters more than its picture
                    print(f"no picture of {who}'s window: {error}")

    # --- who takes part

    def _somebody(self) -> Dashboard:
        """One of the two ways here is gone without a mouse, as that is no slower for a test."""
        kind = ByKeyboard if self.appliance.mode is HTTPS else Dashboard
        return kind(person(self.browser).new_page(), self.appliance.origin)

    @cached_property
    def browser(self) -> Browser:
        return self._stack.enter_context(chromium(self.appliance, self.folder / "home"))

    @cached_property
    def owner(self) -> Dashboard:
        return self._somebody()

    @cached_property
    def member(self) -> Dashboard:
        return self._somebody()

    def stranger(self) -> Dashboard:
        """Somebody in a window of their own; whoever asks for it closes it."""
        return Dashboard(person(self.browser).new_page(), self.appliance.origin)

    @cached_property
    def second(self) -> Dashboard:
        """The member's dashboard in another browser, signed in, so that the chat stays open in the first."""
        made = self.stranger()
        made.sign_in(MEMBER)
        return made

    @cached_property
    def chat(self) -> Chat:
        return Chat(self.member.page)

    @cached_property
    def upstream(self) -> Upstream:
        """Stands for a provider on the internet: only LiteLLM's own way out leads to it."""
        return self._stack.enter_context(upstream_at(self.appliance.gateway_of("llmout")))

    @property
    def has_ollama(self) -> bool:
        return bool(self.appliance.service("ollama"))

    @property
    def member_id(self) -> str:
        (row,) = self.appliance.rows("SELECT id FROM users WHERE login = ?", MEMBER.login)
        found: str = row["id"]
        return found

    @property
    def runtime_id(self) -> str:
        (row,) = self.appliance.rows(
            "SELECT r.id FROM runtimes r JOIN users u ON u.id = r.owner WHERE u.login = ?", MEMBER.login
        )
        found: str = row["id"]
        return found

    @property
    def runtime(self) -> str:
        """The name of the member's container."""
        return self.appliance.runtime(self.runtime_id)

    @property
    def workspace(self) -> str:
        """The address of the member's workspace."""
        slug = self.appliance.rows("SELECT slug FROM runtimes WHERE id = ?", self.runtime_id)[0]["slug"]
        return self.appliance.origin.replace("://", f"://{slug}.ws.") + "/"

    # --- the steps

    def _install(self) -> str:
        begun = time.monotonic()
        self.appliance.printed = self.appliance.install()
        self.figures["install.sh, s"] = time.monotonic() - begun
        return self.appliance.printed

    def _own(self) -> None:
        self.owner.visit(self.appliance.setup_link)
        self.picture(self.owner.page, "set-up-link")
        self.owner.join(self.appliance.setup_link, OWNER)
        self.picture(self.owner.page, "owner-signed-in")

    def _connect_ollama(self) -> bool:
        """False where this box has no Ollama."""
        ollama = self.appliance.service("ollama")
        if not ollama:
            return False
        made = tiny_model.make(self.folder)
        # The data folder is mounted at /data; `docker cp` would be refused, because the rest of it is read-only.
        inside = self.appliance.data / "ollama" / "tiny"
        inside.mkdir(exist_ok=True)
        for each in made.iterdir():
            (inside / each.name).write_bytes(each.read_bytes())
        docker("exec", "-w", "/data/tiny", ollama, "ollama", "create", "tiny", "-f", "Modelfile", limit_s=60)
        self.owner.connect("Ollama on this box")
        self.owner.expect_model("tiny:latest")
        self.picture(self.owner.page, "ollama-connected")
        return True

    def _connect_provider(self) -> None:
        words = [f"cloud{number} " for number in range(CLOUD_WORDS)]
        self.appliance.wait_for_litellm()
        self.upstream.script(CLOUD_MODEL, key=self.provider_key, words=words, gap_s=0.05)
        self.owner.connect(
            "Provider key",
            provider="openai",
            key=self.provider_key,
            models=CLOUD_MODEL,
            url=f"{self.upstream.url}/v1",
        )
        self.owner.expect_model(CLOUD_MODEL)
        self.picture(self.owner.page, "provider-connected")
        assert self.provider_key not in self.owner.page.content()

    def _invite(self) -> str:
        link = self.owner.invite("Max")
        self.picture(self.owner.page, "invited")
        return link

    def _join(self) -> None:
        self.member.join(str(self.told["invited"]), MEMBER)
        self.member.sign_out()
        self.member.sign_in(MEMBER)
        self.picture(self.member.page, "member-signed-in")

    def _open(self) -> list[str]:
        self.member.visit("/")
        begun = time.monotonic()
        self.member.open_workspace()
        self.member.page.locator("#stages").wait_for()
        self.picture(self.member.page, "progress")
        shown = self.member.stages_until_inside(f".ws.{self.appliance.base}", BOOT_LIMIT_S)
        self.chat.wait_until_usable(BOOT_LIMIT_S)
        self.figures["Open workspace to usable Control UI, first time, s"] = time.monotonic() - begun
        self.picture(self.member.page, "control-ui")
        return shown

    def _chat(self) -> Answer | None:
        """None where this box has no Ollama, or where another mode has asked it already."""
        if not self.has_ollama or self.appliance.mode is HTTPS:
            return None
        answer = self.chat.ask("Hello, who are you?", CHAT_LIMIT_S)
        self.figures["send to first token, Ollama, first turn, s"] = answer.first_ms / 1000
        self.picture(self.member.page, "answer-from-ollama")
        return answer

    def _chat_through_litellm(self) -> Answer:
        if self.has_ollama:
            self.owner.make_default(CLOUD_MODEL)
            self.member.page.wait_for_timeout(3000)  # OpenClaw reads its configuration again within about a second
        answer = self.chat.ask("And what does the cloud say?", CHAT_LIMIT_S)
        self.figures["send to first token, LiteLLM, s"] = answer.first_ms / 1000
        self.picture(self.member.page, "answer-through-litellm")
        return answer

    def _make_key(self) -> str:
        key = self.second.make_key("laptop")
        self.picture(self.second.page, "key-made")
        return key

"""In any dialect a member's own tools call models with a key, and a runtime does so on its own network."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.appliance import docker
from tests.e2e.browser import CHROMIUM
from tests.e2e.story import CLOUD_MODEL, MEMBER, Story

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="this machine has no package named chromium"),
]
SAY = [{"role": "user", "content": "Hello"}]
CALLS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": SAY, "max_tokens": 16},
    "/v1/responses": {"input": "Hello", "max_output_tokens": 16},
    "/v1/messages": {"messages": SAY, "max_tokens": 16},
    "/v1/messages/count_tokens": {"messages": SAY},
    "/api/chat": {"messages": SAY, "stream": False, "options": {"num_predict": 16}},
    "/api/generate": {"prompt": "Hello", "stream": False, "options": {"num_predict": 16}},
}


def _tool(story: Story, command: str) -> str:
    """What a shell on the member's machine prints; it knows the box's name and, where it has one, its certificate."""
    place = story.appliance.origin.split("://", 1)[1]
    lines = ["silent", "max-time = 90", f'resolve = "{place}:127.0.0.1"']
    if story.appliance.mode.domain:
        certificate = story.folder / "box.crt"
        certificate.write_bytes(story.appliance.certificate())
        lines.append(f'cacert = "{certificate}"')
    (story.folder / ".curlrc").write_text("\n".join(lines) + "\n")
    environ = {"PATH": os.environ["PATH"], "CURL_HOME": str(story.folder), "HOME": str(story.folder)}
    done = subprocess.run(
        ["bash", "-c", command], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def call(story: Story, path: str, token: str, model: str) -> tuple[int, Any]:
    body = json.dumps({"model": model, **CALLS[path]})
    answer = _tool(
        story,
        f"curl -w '\\n%{{http_code}}' {story.appliance.origin}{path} -H 'Authorization: Bearer {token}' "
        f"-H 'Content-Type: application/json' -d '{body}'",
    )
    text, _, status = answer.rpartition("\n")
    return int(status), json.loads(text)


def _models(story: Story) -> list[str]:
    return [CLOUD_MODEL, *(["tiny:latest"] if story.has_ollama else [])]


def _key(story: Story) -> str:
    return str(story.reach("made a key"))


@pytest.mark.limit(300)
def test_what_the_page_says_of_curl_works_as_it_stands_there(story: Story) -> None:
    key = _key(story)
    recipe = story.second.recipe("curl")
    assert key in recipe
    assert json.loads(_tool(story, recipe))["choices"][0]["message"]["content"]


@pytest.mark.limit(300)
@pytest.mark.parametrize("path", CALLS)
def test_every_dialect_is_answered_to_a_key(story: Story, path: str) -> None:
    for model in _models(story):
        status, answer = call(story, path, _key(story), model)
        if model == CLOUD_MODEL and path.startswith("/api/"):
            assert (status, "is no Ollama" in answer["error"]) == (400, True)
        else:
            assert status == 200, answer


@pytest.mark.limit(300)
def test_a_runtime_is_answered_in_every_dialect_on_its_own_network(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    script = """
        const config = JSON.parse(require("fs").readFileSync("/etc/openclaw/openclaw.json"));
        const token = require("fs").readFileSync("/run/clawloops/model-token", "utf8").trim();
        const base = config.models.providers.clawloops.baseUrl.replace(/\\/v1$/, "");
        const [model, path, fields] = process.argv.slice(1);
        fetch(base + path, {
          method: "POST", headers: {"Authorization": "Bearer " + token, "Content-Type": "application/json"},
          body: JSON.stringify({model, ...JSON.parse(fields)}),
        }).then(async answer => console.log(answer.status, await answer.text()));
    """
    for model in _models(story):
        for path, fields in CALLS.items():
            said = docker("exec", story.runtime, "node", "-e", script, model, path, json.dumps(fields), limit_s=90)
            expected = "400" if model == CLOUD_MODEL and path.startswith("/api/") else "200"
            assert said.startswith(expected), f"{path} {model}: {said}"


def test_a_runtimes_token_is_worth_nothing_on_the_dashboards_host(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    token = (story.appliance.data / "runtimes" / story.runtime_id / "secret" / "model-token").read_text().strip()
    status, answer = call(story, "/v1/chat/completions", token, CLOUD_MODEL)
    assert (status, "under Keys" in answer["error"]["message"]) == (401, True)
    assert token not in json.dumps(answer)


@pytest.mark.limit(200)
def test_a_key_shows_what_it_used_and_is_worth_nothing_once_revoked(story: Story) -> None:
    key, page = _key(story), story.second.page
    assert call(story, "/v1/chat/completions", key, CLOUD_MODEL)[0] == 200
    story.second.visit("/keys")
    card = page.get_by_role("listitem").filter(has_text="laptop")
    expect(card).to_contain_text("last used")
    story.picture(page, "keys")
    assert key not in page.content()
    card.locator("summary").click()
    card.get_by_role("button", name="Revoke laptop").click()
    expect(page.get_by_role("heading", name="Your keys")).to_have_count(0)
    assert call(story, "/v1/chat/completions", key, CLOUD_MODEL)[0] == 401


def test_a_program_does_with_a_token_what_its_scopes_say(story: Story) -> None:
    _key(story)  # with which the second browser is signed in
    page = story.second.page
    story.second.visit("/account/tokens")
    page.get_by_label("What for").fill("a script")
    page.locator("input[name=scopes][value='me:read']").check()
    page.locator("input[name=scopes][value='workspace:read']").check()
    page.get_by_role("button", name="Make a token").click()
    token = story.second.shown_once("Your new token")
    story.picture(page, "token-made")

    def ask(path: str, *options: str, token: str = token) -> tuple[int, Any]:
        header = f"-H 'Authorization: Bearer {token}'"
        written = _tool(
            story, f"curl -w '\\n%{{http_code}}' {header} {' '.join(options)} {story.appliance.origin}{path}"
        )
        text, _, status = written.rpartition("\n")
        return int(status), json.loads(text)

    assert ask("/api/v1/me")[1]["login"] == MEMBER.login
    status, workspace = ask("/api/v1/workspace")
    assert status == 200 and workspace["id"] == story.runtime_id
    status, problem = ask("/api/v1/workspace/stop", "-X", "POST")
    assert status == 403 and "workspace:write" in problem["detail"]
    status, problem = ask("/api/v1/me", token="clt_" + "x" * 43)
    assert status == 401 and problem["status"] == 401
    assert ask("/api/v1/openapi.json")[1]["openapi"].startswith("3.1")

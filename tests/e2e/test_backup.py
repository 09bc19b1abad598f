"""A backup of the database made on a box that is in use, and put back as docs/operations.md says."""

from __future__ import annotations

import json

import pytest

from tests.e2e.appliance import docker
from tests.e2e.story import BOOT_LIMIT_S, MEMBER, Story
from tests.e2e.test_upkeep import read_note, write_note

pytestmark = [pytest.mark.e2e, pytest.mark.docker, pytest.mark.limit(300)]


def test_a_backup_brings_back_what_was_known_and_leaves_the_files(story: Story) -> None:
    story.reach("chatted through LiteLLM")
    control = story.appliance.service("clawloops")
    if story.appliance.mode.postgresql:
        refused = docker("exec", control, "clawloops", "backup", "make", check=False)
        assert "PostgreSQL, which has its own tool for that: pg_dump" in refused
        assert json.loads(docker("exec", control, "clawloops", "backup", "list", "--json")) == []
        return
    story.member.start_and_wait(BOOT_LIMIT_S)
    write_note(story, "of now")
    name = json.loads(docker("exec", control, "clawloops", "backup", "make", "--json"))["name"]
    for made in ("link for nobody", "link for nobody else"):
        docker("exec", control, "clawloops", "member", "invite", "--note", made)
    assert "link for nobody else" in docker("exec", control, "clawloops", "member", "invitations")
    story.owner.visit("/box")
    story.owner.page.get_by_text(name, exact=True).wait_for()
    story.picture(story.owner.page, "backups")
    assert "a control plane runs on this data" in docker(
        "exec", control, "clawloops", "backup", "restore", name, check=False
    )
    story.appliance.compose("stop", "clawloops")
    told = story.appliance.compose("run", "--rm", "clawloops", "clawloops", "backup", "restore", name)
    assert f"{name} is in place" in told and "is kept as clawloops-before-restore-" in told
    story.appliance.compose("start", "clawloops")
    story.member.visit_soon("/healthz", limit_s=60)
    assert "link for nobody" not in docker("exec", control, "clawloops", "member", "invitations")
    story.member.sign_in(MEMBER)  # as everybody has to
    story.member.expect_state("Ready", limit_s=BOOT_LIMIT_S)
    assert read_note(story) == "of now"
    assert "Nothing is wrong with the audit" in docker("exec", control, "clawloops", "audit", "verify")

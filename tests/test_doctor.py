"""What the doctor offers to do: for each trouble a remedy that can help, and for the rest the words alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawloops import doctor, ground
from clawloops.clock import now_ms
from clawloops.control.certificates import Standing
from clawloops.model.backup import Reason
from clawloops.model.certificate import Tls
from clawloops.model.checkup import Remedy
from clawloops.store import backups
from clawloops.web.upkeep import REMEDIES
from tests.web.upkept import settings


@pytest.mark.parametrize(
    ("tls", "problem", "remedy"),
    [
        (Tls.OWN, "", Remedy.RESTART_CERTIFICATES),
        (Tls.FILES, "", Remedy.RESTART_CERTIFICATES),
        (Tls.FILES, "the key is not that of the certificate", None),
        (Tls.ACME_HTTP, "port 80 is not reachable", Remedy.RESTART_TRAEFIK),
        (Tls.ACME_DNS, "", Remedy.RESTART_TRAEFIK),
    ],
)
async def test_a_certificate_is_asked_for_again_unless_a_person_has_to_put_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: Tls, problem: str, remedy: Remedy | None
) -> None:
    class Looked:
        async def look(self) -> Standing:
            return Standing(tls, None, problem)

    monkeypatch.setattr(ground, "certificates_of", lambda _: Looked())
    (found,) = [each async for each in doctor.look(settings(tmp_path), "certificate")]
    assert found.remedy is remedy and problem in found.why


async def test_what_is_left_out_or_well_is_no_finding(tmp_path: Path) -> None:
    found = {each.part: each async for each in doctor.look(settings(tmp_path))}
    assert [found[each].why for each in ("Ollama", "LiteLLM", "certificate", "workspace addresses")] == [""] * 4
    assert "the Docker Engine does not answer" in found["parts of the appliance"].why
    assert found["parts of the appliance"].remedy is None, "nothing can be done through an Engine that is away"


async def test_a_backup_is_missed_after_three_days(tmp_path: Path) -> None:
    found = settings(tmp_path)

    async def missed() -> Remedy | None:
        (finding,) = [each async for each in doctor.look(found, "backups")]
        assert bool(finding.why) == bool(finding.remedy)
        return finding.remedy

    assert await missed() is None, "a box that was just set up has had no time for one"
    long_ago = now_ms() - doctor.LATE_MS
    async with ground.store(found) as db:
        await db.execute("UPDATE schema_migrations SET applied_at = $1", long_ago)
        assert await missed() is Remedy.MAKE_BACKUP
        for reason, at, remedy in (
            (Reason.DAILY, long_ago, Remedy.MAKE_BACKUP),
            (Reason.RESTORE, now_ms(), Remedy.MAKE_BACKUP),  # what was in use then is no copy of today
            (Reason.ASKED, now_ms(), None),
        ):
            await backups.make(db, tmp_path / "backups", reason, now=at)
            assert await missed() is remedy


def test_each_remedy_says_what_it_does() -> None:
    assert set(REMEDIES) == set(Remedy)

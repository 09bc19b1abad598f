"""The documentation is held against the code: every setting is in README's table, and every link leads somewhere."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from clawloops.config import Settings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ROW = re.compile(r"^\| *`(CLAWLOOPS_[A-Z_]+)` *\|(.*)\|\s*$", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")


def _rows() -> dict[str, str]:
    return dict(ROW.findall(README.read_text()))


def test_the_readme_documents_every_setting_and_no_other() -> None:
    settings = {f"CLAWLOOPS_{each.name.upper()}" for each in fields(Settings)}
    documented = set(_rows())
    assert documented - settings == set(), "README documents settings that config.py does not have"
    assert settings - documented == set(), "settings of config.py that README's table leaves out"


def test_the_readme_gives_the_real_default_of_every_setting() -> None:
    rows = _rows()
    for each in fields(Settings):
        default = each.metadata["default"]
        row = rows[f"CLAWLOOPS_{each.name.upper()}"]
        if default:
            assert f"`{default}`" in row, f"README gives another default for {each.name} than {default!r}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+?)\s*$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for found in LINK.finditer(text):
        link = found[1] or found[2]
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), f"{page.name} links to {link}, which is not there"
        if anchor and target.suffix == ".md":
            assert anchor in _anchors(target), f"{page.name} links to {link}, and there is no such heading"


def test_every_command_that_the_readme_names_is_there() -> None:
    for each in set(re.findall(r"(?:^|[\s`])\.?/?(install\.sh|tests/run|\.ci/run)\b", README.read_text())):
        assert (ROOT / each).stat().st_mode & 0o111, f"README names {each}, which cannot be executed"


def test_every_test_that_the_checklist_names_is_there_and_its_totals_are_right() -> None:
    text = (ROOT / "docs" / "asvs.md").read_text()
    cited = set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", text))
    assert len(cited) > 50
    missing = [
        f"{file}::{name}"
        for file, name in cited
        if not re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE)
    ]
    assert missing == []
    rows = re.findall(r"^\| (V[\d.]+)(?: to (V[\d.]+))? [^|]*\| (tested|by design|gap|n/a) \|", text, re.MULTILINE)
    claimed = re.search(r"(\d+) met and tested, (\d+) met by design .* (\d+) gaps\.", text)
    assert claimed
    states = ("tested", "by design", "gap")
    found = [sum(_width(first, last) for first, last, state in rows if state == each) for each in states]
    assert found == [int(each) for each in claimed.groups()]


def _width(first: str, last: str) -> int:
    """How many requirements a row stands for: all of a range are in one section where it is no `n/a`."""
    return int(last.rpartition(".")[2]) - int(first.rpartition(".")[2]) + 1 if last else 1

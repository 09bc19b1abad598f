"""One appliance for each way to reach it, shared by all end-to-end tests; they come last and in the order of a life."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.appliance import HTTP, HTTPS, INSTALL_LIMIT_S, Appliance, docker, run
from tests.e2e.story import Story

ORDER = (
    *("test_main_job", "test_secrets", "test_own_tools", "test_shop", "test_guard", "test_walls", "test_decoys"),
    *("test_egress", "test_inspection", "test_pages", "test_keyboard", "test_sleep", "test_upkeep", "test_refused"),
    *("test_faults", "test_backup", "test_removal"),
)
HERE = Path(__file__).resolve().parent
FIGURES = pytest.StashKey[dict[str, dict[str, float]]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The appliance's tests go last, one mode after the other: an open browser holds the thread's event loop."""

    def place(item: pytest.Item) -> tuple[int, int, int]:
        name = item.path.stem
        if item.path.parent != HERE or "story" not in getattr(item, "fixturenames", ()):
            return (0, 0, 0)
        if name not in ORDER:
            raise pytest.UsageError(f"tests/e2e/{name}.py has no place in ORDER of tests/e2e/conftest.py")
        mode = 1 if "https" in item.name else 0
        return (1, mode, ORDER.index(name))

    items.sort(key=place)


@pytest.fixture(scope="session")
def other_install() -> Iterator[str]:
    """Another install on the same machine: one container, network and volume of one name, never to be touched."""
    install_id = secrets.token_hex(4)
    name = f"clawloops-{install_id}-edge"
    labels = ["--label", "clawloops.managed=true", "--label", f"clawloops.install={install_id}"]
    images = run("./install.sh", "images", limit_s=INSTALL_LIMIT_S)
    image = next(line.split("=", 1)[1] for line in images.splitlines() if line.startswith("CLAWLOOPS_IMAGE_EDGE="))
    try:
        docker("network", "create", *labels, name)
        docker("volume", "create", *labels, name)
        docker("run", "-d", "--name", name, *labels, "--network", name, "-v", f"{name}:/kept", image)
        yield name
    finally:
        docker("rm", "-f", name, check=False)
        docker("volume", "rm", name, check=False)
        docker("network", "rm", name, check=False)


@pytest.fixture(scope="session", params=["http", "https"])
def story(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, artifacts: Path, other_install: str
) -> Iterator[Story]:
    # With `other_install` there, removing one mode's appliance leaves the images for the next.
    mode = {each.name: each for each in (HTTP, HTTPS)}[request.param]
    folder = tmp_path_factory.mktemp(f"appliance-{mode}")
    kept = artifacts / "e2e" / mode.name
    for old in kept.glob("*.*") if kept.is_dir() else ():
        old.unlink()
    appliance = Appliance(mode, folder, kept)
    told = Story(appliance, kept, folder)
    try:
        yield told
    finally:
        request.config.stash.setdefault(FIGURES, {})[mode.name] = told.figures
        told.close()
        appliance.forget()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for mode, figures in config.stash.get(FIGURES, {}).items():
        terminalreporter.section(f"times over {mode.upper()}", sep="-")
        for name, value in figures.items():
            terminalreporter.write_line(f"{name:<72} {value:8.2f}")

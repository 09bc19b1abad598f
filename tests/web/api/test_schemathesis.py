"""The API against its own description: what Schemathesis makes up from the document is sent to a real listener."""

from __future__ import annotations

import asyncio
import re
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi import checks

from clawloops.gateway import ollama
from clawloops.model.account import Role
from clawloops.model.runtime import Phase
from clawloops.model.token import TokenScope
from clawloops.web.api.document import described
from clawloops.web.api.table import OPERATIONS
from tests.web.box import Box
from tests.web.opened import opened_box
from tests.web.scenes import (
    with_budgets,
    with_egress,
    with_files,
    with_groups,
    with_keys,
    with_models,
    with_people,
)
from tests.web.shop import with_library

CHECKS = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
GIVEN = re.compile("[A-Za-z0-9_-]{1,64}")
CONFIG = SchemathesisConfig.from_dict(
    {
        "generation": {"mode": "all", "deterministic": True, "max-examples": 30, "with-security-parameters": False},
        "phases": {"coverage": {"enabled": False}, "examples": {"enabled": False}},
    }
)
schema = schemathesis.openapi.from_dict(described(OPERATIONS), config=CONFIG)


class Served:
    """A box with something of everything in it, on a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self._ready: Future[Box] = Future()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self.loop.run_until_complete, args=(self._serve(folder),))
        self._thread.start()
        self.box = self._ready.result(30)
        self.secret = self.fresh_token()

    async def _serve(self, folder: Path) -> None:
        try:
            async with opened_box(folder) as box:
                self.ids = await _furnished(box)
                self._ready.set_result(box)
                await self._over.wait()
                for task in box.keeping:  # pulls of an Ollama that is not there are tried for minutes
                    task.cancel()
                await asyncio.gather(*box.keeping, return_exceptions=True)
        except BaseException as error:
            if not self._ready.done():
                self._ready.set_exception(error)
            raise

    def fresh_token(self) -> str:
        olga = next(each for each in self.box.accounts.members() if each.role is Role.OWNER)
        made = self.box.tokens.make(name="schemathesis", scopes=list(TokenScope), days=9, by=olga)
        return asyncio.run_coroutine_threadsafe(made, self.loop).result(5)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)
        self.loop.close()


async def _furnished(box: Box) -> dict[str, list[str]]:
    """Ids by the second word of the paths that name them."""
    olga = await box.member("olga", Role.OWNER)
    await with_models(box, "http://127.0.0.1:9")
    await with_people(box, olga)
    await with_groups(box, olga)
    await with_keys(box, olga)
    runtime = await box.workspace(olga, Phase.READY)
    await with_files(box, olga, runtime)
    await with_egress(box, olga)
    await with_budgets(box, olga)
    await with_library(box, olga)
    return {
        "workspaces": [each.id for each in await box.runtimes.all(by=olga)],
        "members": [each.id for each in box.accounts.members()],
        "invitations": [each.id for each in await box.invitations.open()],
        "groups": [each.id for each in await box.groups.all()],
        "budgets": [each.id for each in await box.budgets.all()],
        "models": [each.id for each in box.models.names() if GIVEN.fullmatch(each.id)],
        "backends": [each.id for each in await box.backends.all()],
        "keys": [each.key.id for each in await box.keys.of(olga)],
        "work": [each.id for each in (await box.workspaces.shelf(runtime.id, by=olga)).jobs],
        "pulls": [each.pull.id for each in await box.library.pulls_of("b1", by=olga)],
        "rules": [each.id for each in box.egress.rules_of(olga.id)],
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ollama, "_REGISTRY", "127.0.0.1:9")  # what is made up is asked of nobody
        made = Served(tmp_path_factory.mktemp("box"))
        yield made
        made.close()


@pytest.mark.attacks
@pytest.mark.limit(500)
@schema.parametrize()
@settings(max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_the_api_keeps_to_its_description(case: Any, served: Served) -> None:
    _lead_to_something(case, served.ids)
    case.call_and_validate(
        base_url=f"http://127.0.0.1:{served.box.site.port}",
        headers={"Host": served.box.site.authority, "Authorization": f"Bearer {served.secret}"},
        checks=CHECKS,
        timeout=10,
    )


def _lead_to_something(case: Any, ids: dict[str, list[str]]) -> None:
    """Put what there is in the place of half of the ids that are made up; what is no id at all stays."""
    for name, made_up in (case.path_parameters or {}).items():
        known = ids.get(case.path.split("{" + name)[0].rstrip("/").rpartition("/")[2], [])
        at = zlib.crc32(str(made_up).encode())
        if known and at % 2 and GIVEN.fullmatch(str(made_up)):
            case.path_parameters[name] = known[at // 2 % len(known)]
        elif name == "number" and isinstance(made_up, int) and at % 2:
            case.path_parameters[name] = 1 + at % 4

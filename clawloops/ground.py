"""What stands before any service: the store, its one leader, the master key, the audit. Also for the command line."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from clawloops.config import Settings
from clawloops.control.audit import Audit
from clawloops.control.certificates import Certificates
from clawloops.control.connecting import BundledParts
from clawloops.control.rotation import refuse_half_rotated
from clawloops.errors import SetupError
from clawloops.log import redactor
from clawloops.store import leader
from clawloops.store.db import Database, open_database
from clawloops.store.migrate import migrate
from clawloops.store.own_keys import audit_key
from clawloops.store.seal import Sealer, check_sentinel, load_master

log = logging.getLogger(__name__)

_DATABASE_WAIT_S = 30
_OTHER_LEADS_S = 10  # after which a lock that is not free counts as a running control plane's


def secret(path: str) -> str:
    """The secret a file holds, masked in logs from now on. Raises SetupError."""
    try:
        value = Path(path).read_text().strip()
    except OSError as error:
        raise SetupError(f"cannot read {path}: {error.strerror}; run ./install.sh, which makes it") from error
    redactor.add(value)
    return value


@asynccontextmanager
async def store(settings: Settings) -> AsyncIterator[Database]:
    """The database, migrated to this version."""
    db = await open_database(settings.database_url, password=_password(settings), wait_s=_DATABASE_WAIT_S)
    try:
        await migrate(db, backup_dir=settings.data / "backups")
        yield db
    finally:
        await db.close()


def leadership(settings: Settings) -> AbstractAsyncContextManager[None]:
    """To be the only one on this data, as long as it is open; see `leader.lead`."""
    return leader.lead(
        settings.database_url,
        data=settings.data,
        password=_password(settings),
        wait_s=_DATABASE_WAIT_S,
        on_lost=_end_at_once,
    )


@asynccontextmanager
async def nobody_else(settings: Settings) -> AsyncIterator[None]:
    """While no control plane runs. Raises SetupError when one does."""
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(_OTHER_LEADS_S):
                await stack.enter_async_context(leadership(settings))
        except TimeoutError as error:
            raise SetupError(
                "a control plane runs on this data; stop it for the moment: docker compose stop clawloops "
                "(workspaces go on), and start it again afterwards"
            ) from error
        yield


@asynccontextmanager
async def alone(settings: Settings) -> AsyncIterator[Database]:
    """The database, while no control plane runs. Raises SetupError when one does."""
    async with nobody_else(settings), store(settings) as db:
        yield db


def load_seal(settings: Settings) -> Sealer:
    """The master key of this box, whatever the store is. Raises SetupError."""
    refuse_half_rotated(settings.data / "keys")
    return Sealer(load_master(settings.data / "keys" / "master.key"), install_id=settings.install_id)


async def open_seal(db: Database, settings: Settings) -> Sealer:
    """The master key, proven to be the one of this store. Raises SetupError."""
    sealer = load_seal(settings)
    await check_sentinel(db, sealer)
    return sealer


async def open_audit(db: Database, settings: Settings) -> Audit:
    """Raises SetupError."""
    return Audit(db, await audit_key(db, await open_seal(db, settings)))


def bundled_parts(settings: Settings) -> BundledParts:
    """Raises SetupError where LiteLLM's key cannot be read."""
    key = secret(settings.litellm_key_file) if settings.litellm_key_file else ""
    return BundledParts(ollama_url=settings.ollama_url, litellm_url=settings.litellm_url, litellm_key=key)


def certificates_of(settings: Settings) -> Certificates:
    """What browsers are served."""
    problem = settings.data / "tls" / "problem"
    return Certificates(settings.tls, settings.base, address=settings.edge_address, problem=problem)


def _password(settings: Settings) -> str | None:
    return secret(settings.database_password_file) if settings.database_password_file else None


def _end_at_once(reason: str) -> None:
    """Leave without a clean-up, which could still change something after another process has taken over."""
    log.critical("no longer the leader: %s; ending at once, so that a restart waits for its turn", reason)
    logging.shutdown()
    os._exit(os.EX_TEMPFAIL)

"""Backends and public model names: each is checked with a real call, then its key is sealed and the gateway told."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp
from yarl import URL

from clawloops.clock import now_ms
from clawloops.control.audit import Audit
from clawloops.errors import BackendRefused, BackendUnavailable, BadInput, Conflict, Forbidden, NotFound
from clawloops.gateway import providers
from clawloops.gateway.resolve import is_out_of_bounds
from clawloops.gateway.route import Directory
from clawloops.log import redactor
from clawloops.model.account import User
from clawloops.model.provider import Backend, BackendKind, Model, Target
from clawloops.store import backends, credentials, models
from clawloops.store.db import Database
from clawloops.store.seal import Sealer

TABLE = "credentials"
MAX_LISTED = 25
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}$")
_PROVIDER = re.compile(r"^[a-z0-9_]{2,40}$")
_WINDOW = {BackendKind.OLLAMA: 32_768, BackendKind.OPENAI: 128_000, BackendKind.LITELLM: 128_000}
_MAX_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class BundledParts:
    """Addresses of the parts that this box brings along; "" where one was left out."""

    ollama_url: str
    litellm_url: str
    litellm_key: str


class Models:
    def __init__(
        self,
        db: Database,
        sealer: Sealer,
        session: aiohttp.ClientSession,
        directory: Directory,
        audit: Audit,
        *,
        bundled: BundledParts,
        wake_all: Callable[[], None],
    ) -> None:
        self._db = db
        self._sealer = sealer
        self._session = session
        self._directory = directory
        self._audit = audit
        self._bundled = bundled
        self._wake_all = wake_all

    async def load(self) -> None:
        """Open every credential in memory and tell the gateway which names lead where. Raises SealBroken."""
        known = {each.id: each for each in await backends.all(self._db)}
        keys = {backend_id: await self._open(backend) for backend_id, backend in known.items()}
        self._directory.set_models(
            [Target(each, known[each.backend_id], keys[each.backend_id]) for each in await models.all(self._db)]
        )

    def names(self) -> list[Model]:
        """Public names as members see them: the default first."""
        return [target.model for target in self._directory.targets()]

    async def backends(self) -> list[Backend]:
        return await backends.all(self._db)

    async def add_backend(
        self, *, kind: BackendKind, name: str, url: str, provider: str, key: str, names: Sequence[str], by: User
    ) -> Backend:
        """Check a backend with a real completion on its first model; keep it only if that worked.

        `names` are the backend's own model names; when empty, what the backend lists is taken (at most 25).
        Raises BadInput with the field that is wrong: an address that does not answer, a key that is refused.
        """
        _admin(by)
        key = key.strip()
        redactor.add(key)
        backend = Backend(
            id="b" + secrets.token_hex(8),
            name=name.strip()[:60] or _default_name(kind, provider.strip().lower()),
            kind=kind,
            url=self._address(kind, url.strip()),
            provider=_provider(kind, provider),
            created_at=now_ms(),
        )
        wanted = await self._checked(backend, key or None, [each.strip() for each in names if each.strip()])
        try:
            async with self._db.transaction():
                await backends.add(self._db, backend)
                if key:
                    sealed = self._sealer.seal(
                        key, table=TABLE, credential_id="c" + secrets.token_hex(8), provider=_seal_name(backend),
                        owner=backend.id, version=1,
                    )  # fmt: skip
                    await credentials.put(self._db, backend.id, sealed)
                for model in self._models_of(backend, wanted, first=not await models.all(self._db)):
                    await models.add(self._db, model)
        except Conflict:
            raise BadInput(
                "One of these names is taken by another backend. Remove that one first.", field="models"
            ) from None
        await self._audit.record(by.id, "model backend added", backend.name, ", ".join(wanted))
        await self._changed()
        return backend

    async def remove_backend(self, backend_id: str, *, by: User) -> None:
        """Forget a backend, its sealed key and its public names."""
        _admin(by)
        backend = await backends.get(self._db, backend_id)
        if backend is None:
            raise NotFound("This backend was removed already. Reload the page.")
        async with self._db.transaction():
            await backends.delete(self._db, backend_id)
            left = await models.all(self._db)
            if left and not left[0].is_default:
                await models.set_default(self._db, left[0].id)
        await self._audit.record(by.id, "model backend removed", backend.name)
        await self._changed()

    async def set_default(self, model_id: str, *, by: User) -> None:
        """The model that new chats start with, in every workspace."""
        _admin(by)
        await models.set_default(self._db, model_id)
        await self._audit.record(by.id, "default model", model_id)
        await self._changed()

    async def _changed(self) -> None:
        await self.load()
        self._wake_all()

    async def _open(self, backend: Backend) -> str | None:
        sealed = await credentials.get(self._db, backend.id)
        if sealed is None:
            return None
        key = self._sealer.open(sealed, table=TABLE, provider=_seal_name(backend), owner=backend.id)
        redactor.add(key)
        return key

    async def _checked(self, backend: Backend, key: str | None, names: list[str]) -> list[str]:
        parts = {"litellm_url": self._bundled.litellm_url, "litellm_key": self._bundled.litellm_key}
        field = "provider" if backend.kind is BackendKind.LITELLM else "url"
        try:
            listed = await providers.probe(self._session, backend, key, model=names[0] if names else None, **parts)
            wanted = names or _listed(listed, backend)
            for each in wanted:
                if not _NAME.match(each):
                    raise BadInput(f"{each!r} is not a model name.", field="models")
            await providers.check(self._session, backend, key, model=wanted[0], **parts)
        except BackendUnavailable as error:
            raise BadInput(str(error), field=field) from error
        except BackendRefused as error:
            refused = error.status in (401, 403)
            raise BadInput(str(error), field="key" if refused else "models") from error
        return list(dict.fromkeys(wanted))

    def _models_of(self, backend: Backend, wanted: list[str], *, first: bool) -> list[Model]:
        return [
            Model(
                id="m" + secrets.token_hex(8),
                name=each,
                backend_id=backend.id,
                upstream=each,
                context_window=_WINDOW[backend.kind],
                max_tokens=_MAX_TOKENS,
                is_default=first and index == 0,
                created_at=now_ms(),
            )
            for index, each in enumerate(wanted)
        ]

    def _address(self, kind: BackendKind, url: str) -> str:
        match kind:
            case BackendKind.OLLAMA if not url:
                if not self._bundled.ollama_url:
                    raise BadInput("This box runs no Ollama of its own. Give the address of one.", field="url")
                return self._bundled.ollama_url
            case BackendKind.OLLAMA:
                return _address(url).removesuffix("/v1")
            case BackendKind.OPENAI:
                address = _address(url)
                return address if URL(address).path not in ("", "/") else f"{address}/v1"
            case BackendKind.LITELLM:
                if not self._bundled.litellm_url:
                    raise BadInput("LiteLLM is not running on this box; run ./install.sh again.", field="provider")
                return _address(url) if url else ""


def _address(text: str) -> str:
    """An http(s) address without a trailing slash. Loopback is refused: it would be this container, not the box."""
    try:
        url = URL(text if "://" in text else f"http://{text}")
    except ValueError as error:
        raise BadInput(f"This is not an address ({error}). Example: http://192.168.1.20:8000/v1", field="url") from None
    if url.scheme not in ("http", "https") or not url.host or url.user or url.query_string or url.fragment:
        raise BadInput("Give an http or https address, for example http://192.168.1.20:8000/v1", field="url")
    if _is_loopback(url.host):
        raise BadInput(
            "localhost means ClawLoops' own container here. For a server on this box use "
            "http://host.docker.internal:PORT/v1, and let it listen on more than 127.0.0.1.",
            field="url",
        )
    return str(url).rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return is_out_of_bounds(host)
    except ValueError:  # a name: looked at when it is resolved
        return False


def _listed(listed: list[str], backend: Backend) -> list[str]:
    if not listed:
        hint = (
            "pull one first: docker compose exec ollama ollama pull NAME"
            if backend.kind is BackendKind.OLLAMA
            else "name the models you want"
        )
        raise BadInput(f"This backend lists no model; {hint}.", field="models")
    if len(listed) > MAX_LISTED:
        raise BadInput(
            f"This backend lists {len(listed)} models; name those you want, for example {', '.join(listed[:3])}.",
            field="models",
        )
    return listed


def _provider(kind: BackendKind, provider: str) -> str:
    if kind is not BackendKind.LITELLM:
        return ""
    provider = provider.strip().lower()
    if not _PROVIDER.match(provider):
        raise BadInput(
            "Give LiteLLM's name of the provider, for example anthropic, gemini or mistral.", field="provider"
        )
    return provider


def _default_name(kind: BackendKind, provider: str) -> str:
    return {BackendKind.OLLAMA: "Ollama", BackendKind.OPENAI: "OpenAI-compatible", BackendKind.LITELLM: provider}[kind]


def _seal_name(backend: Backend) -> str:
    """What the sealed key is bound to besides its backend: where it may be sent."""
    return f"{backend.kind}:{backend.provider}:{backend.url}"


def _admin(user: User) -> None:
    if not user.role.administers:
        raise Forbidden("Only an admin can change models.")

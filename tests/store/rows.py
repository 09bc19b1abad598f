"""Made-up rows for the store's tests; anything that matters to a test is given by name."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from clawloops.model.account import Group, Invitation, Role, Session, SessionKind, User
from clawloops.model.provider import Backend, BackendKind, Model, Place
from clawloops.model.runtime import Runtime, Want
from clawloops.model.usage import Call, Tokens
from clawloops.store.credentials import Kept
from clawloops.store.seal import Sealed

NOW = 1_800_000_000_000


def user(login: str = "ada", **changes: Any) -> User:
    made = User(f"u-{login}", login, login.title(), Role.MEMBER, "$argon2id$", None, NOW)
    return replace(made, **changes)


def session(user_id: str = "u-ada", **changes: Any) -> Session:
    made = Session(secrets.token_bytes(32), SessionKind.DASHBOARD, user_id, None, None, NOW, NOW, NOW + 1000)
    return replace(made, **changes)


def workspace_session(parent: Session, runtime_id: str, **changes: Any) -> Session:
    return session(parent.user_id, kind=SessionKind.WORKSPACE, parent=parent.hash, runtime_id=runtime_id, **changes)


def invitation(**changes: Any) -> Invitation:
    made = Invitation(
        "i" + secrets.token_hex(8), secrets.token_bytes(32), Role.MEMBER, "for Ada", None, NOW, NOW + 1000, None, None
    )
    return replace(made, **changes)


def runtime(owner: str = "u-ada", **changes: Any) -> Runtime:
    made = Runtime("r-" + owner, owner, "slug-" + owner, Want.STOPPED, "10.0.0.0/29", 0, None, 1, 0, "", 0, NOW)
    return replace(made, **changes)


def backend(name: str = "local", **changes: Any) -> Backend:
    return replace(Backend(f"b-{name}", name, BackendKind.OLLAMA, "http://ollama:11434", "", NOW), **changes)


def credential(backend_id: str, sealed: Sealed, **changes: Any) -> Kept:
    return replace(Kept(sealed, backend_id, "", "", None, NOW), **changes)


def group(name: str = "design", *members: str) -> Group:
    return Group(f"g-{name}", name, frozenset(members), NOW)


def model(name: str = "small", backend_id: str = "b-local", **changes: Any) -> Model:
    return replace(Model(f"m-{name}", name, (Place(backend_id, f"{name}:latest"),), 32768, 4096, False, NOW), **changes)


def call(**changes: Any) -> Call:
    tokens = Tokens(input=100, output=20, cached=10, reasoning=5)
    made = Call(secrets.token_hex(16), NOW, "u-ada", "r-ada", "small", "b-local", tokens, 200, 90, 700)
    return replace(made, **changes)

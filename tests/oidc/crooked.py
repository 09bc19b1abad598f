"""A provider that can be bent in every place: what no real one does, and a stolen or hostile one would."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from clawloops.bench.peers import free_port
from tests.oidc.server import new_key

CLIENT, SECRET = "clawloops", "only for tests"


def public(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in key.items() if name not in ("d", "p", "q", "dp", "dq", "qi")}


@dataclass
class Crooked:
    port: int = field(default_factory=free_port)
    scheme: str = "http"
    host: str = "127.0.0.1"
    key: dict[str, Any] = field(default_factory=lambda: new_key("RS256"))
    keys: list[dict[str, Any]] | None = None  # what it publishes; None: the public half of `key`
    nonce: str = ""
    claims: dict[str, Any] = field(default_factory=dict)  # over the honest ones; None: left out
    header: dict[str, Any] = field(default_factory=dict)
    token: str | None = None  # instead of one that it makes
    says: dict[str, Any] = field(default_factory=dict)  # of itself, over what is honest
    userinfo: dict[str, Any] = field(default_factory=dict)
    padding: dict[str, int] = field(default_factory=dict)  # bytes more, by path
    delay_s: dict[str, float] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)  # redirects, by path
    asked: list[str] = field(default_factory=list)  # paths
    forms: list[dict[str, str]] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"

    def id_token(self) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": "s-1", "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": self.nonce,
            "preferred_username": "ada", "groups": ["agents"], "name": "Ada", "email": "ada@example.org",
            "email_verified": True, **self.claims,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"kid": self.key["kid"], "alg": self.key["alg"], **self.header}
        return jwt.encode(claims, jwt.PyJWK(self.key).key, algorithm=self.key["alg"], headers=header)

    def forged(self, algorithm: str) -> str:
        """An unsigned token, or one signed with the public key as if it were a shared secret."""
        head, body, _ = self.id_token().split(".")
        head = _encoded(json.dumps({"alg": algorithm, "kid": self.key["kid"]}).encode())
        secret = jwt.PyJWK(self.key).key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        mac = hmac.digest(secret, f"{head}.{body}".encode(), "sha256") if algorithm == "HS256" else b""
        return f"{head}.{body}.{_encoded(mac)}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        await asyncio.sleep(self.delay_s.get(request.path, 0))
        if request.path in self.moved:
            raise web.HTTPFound(self.moved[request.path])
        found: dict[str, Any]
        match request.path:
            case "/.well-known/openid-configuration":
                at = self.issuer
                found = {
                    "issuer": at, "authorization_endpoint": f"{at}/auth", "token_endpoint": f"{at}/token",
                    "jwks_uri": f"{at}/jwks", "userinfo_endpoint": f"{at}/me", "response_types_supported": ["code"],
                    "id_token_signing_alg_values_supported": ["RS256"], **self.says,
                }  # fmt: skip
            case "/jwks":
                found = {"keys": [public(self.key)] if self.keys is None else self.keys}
            case "/me":
                found = {"sub": "s-1", **self.userinfo}
            case "/token":
                form = dict(await request.post())
                self.forms.append({name: str(value) for name, value in form.items()})
                if form["code"] != "good":
                    return web.json_response({"error": "invalid_grant"}, status=400)
                found = {"access_token": "t", "token_type": "Bearer", "id_token": self.token or self.id_token()}
            case _:
                raise web.HTTPNotFound
        text = json.dumps(found)
        return web.Response(text=text + " " * self.padding.get(request.path, 0), content_type="application/json")


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@asynccontextmanager
async def serving(crooked: Crooked, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Crooked]:
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", crooked.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", crooked.port, ssl_context=tls).start()
    try:
        yield crooked
    finally:
        await runner.cleanup()

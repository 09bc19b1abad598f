"""Runs a real OpenID Connect server (tests/oidc/server.mjs), and goes through its pages as a browser does."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from yarl import URL

from clawloops.bench.peers import free_port
from tests.conftest import ROOT

HERE = Path(__file__).parent
FOLDER = Path(os.environ.get("CLAWLOOPS_TEST_ISSUER") or ROOT / ".venv-oidc")
_START_S = 20

PEOPLE: dict[str, dict[str, Any]] = {
    "ada": {
        "name": "Ada Lovelace", "preferred_username": "ada", "email": "ada@example.org", "email_verified": True,
        "groups": ["agents", "staff"],
    },
    "ben": {
        "name": "Ben", "preferred_username": "ben", "email": "ben@example.org", "email_verified": False,
        "groups": ["visitors"],
    },
    "eve": {"name": "Eve", "preferred_username": "olga", "email": "olga@example.org", "email_verified": True},
}  # fmt: skip


def new_key(algorithm: str) -> dict[str, Any]:
    """A private key as a JWK."""
    made: dict[str, Any]
    match algorithm:
        case "ES256":
            made = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
        case "EdDSA":
            made = jwt.algorithms.OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate(), as_dict=True)
        case _:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            made = jwt.algorithms.RSAAlgorithm.to_jwk(key, as_dict=True)
    made.pop("key_ops", None)
    return {**made, "alg": algorithm, "use": "sig", "kid": secrets.token_hex(4)}


@dataclass(frozen=True)
class Setup:
    redirect: str
    port: int = field(default_factory=free_port)
    client_id: str = "clawloops"
    secret: str = "a secret of/the provider+"  # which is spelled differently in a header
    alg: str = "RS256"
    auth: str = "client_secret_basic"
    conform: bool = True  # claims of scopes are in userinfo alone, as the specification has it
    keys: tuple[dict[str, Any], ...] = ()
    people: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: PEOPLE)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(setup: Setup) -> AsyncIterator[Setup]:
    """The server, until the block ends."""
    nodes = [*FOLDER.glob("node_modules/node-linux-*/bin/node")]
    if not nodes:
        pytest.fail(f"{FOLDER} holds no OpenID Connect server: tests/run makes it")
    setup = setup if setup.keys else replace(setup, keys=(new_key(setup.alg),))
    settings = {
        "port": setup.port, "client": {"id": setup.client_id, "secret": setup.secret}, "redirect": setup.redirect,
        "keys": {"keys": setup.keys}, "people": setup.people, "alg": setup.alg, "auth": setup.auth,
        "conform": setup.conform,
    }  # fmt: skip
    script = FOLDER / "server.mjs"  # Node looks for packages beside the file that asks for them
    script.write_text((HERE / "server.mjs").read_text())
    process = await asyncio.create_subprocess_exec(
        nodes[0], script, json.dumps(settings),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, env={"NODE_ENV": "test"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_START_S):
            while (line := await process.stdout.readline()) != b"ready\n":
                assert line, "the OpenID Connect server ended at once"
        yield setup
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Person:
    """Somebody's browser at the provider: keeps its cookies, signs in on its pages, and agrees."""

    def __init__(self, login: str) -> None:
        self.login = login
        self.asked = 0  # how often the provider has asked who they are
        self._jar = aiohttp.CookieJar(unsafe=True)

    async def visit(self, address: str) -> str:
        """From where our box sends a browser to where the provider sends it back: that address."""
        async with aiohttp.ClientSession(cookie_jar=self._jar) as http:
            method, form = "GET", None
            for _ in range(20):
                async with http.request(method, URL(address, encoded=True), data=form, allow_redirects=False) as reply:
                    text, onward = await reply.text(), reply.headers.get("Location", "")
                if onward:
                    address, method, form = urljoin(address, onward), "GET", None
                    if "/sign-in/return" in address:
                        return address
                    continue
                assert reply.status == 200, text[:500]
                action = re.search(r'<form[^>]*action="([^"]+)"', text)
                assert action, text[:500]
                fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))
                if 'name="login"' in text:
                    self.asked += 1
                    fields |= {"login": self.login, "password": "any"}
                address, method, form = urljoin(address, html.unescape(action[1])), "POST", fields
        raise AssertionError("the provider leads in circles")

"""The internet as a workspace reaches it: by the real proxy to Telegram's Bot API and an MCP server, both with TLS.

Formats: https://core.telegram.org/bots/api, and modelcontextprotocol.io, "Transports" (Streamable HTTP), "Tools".
"""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import docker
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from clawloops.gateway.asking import Asking
from clawloops.gateway.egress import EgressProxy
from clawloops.gateway.permits import Permits
from clawloops.gateway.receipts import Receipts
from clawloops.gateway.route import Directory
from clawloops.gateway.wanted import MOST_HEADER
from clawloops.model.egress import EVERYBODY, Outcome
from clawloops.model.runtime import Runtime
from clawloops.runtimes import names
from tests.gateway.way_out import Internet, rule
from tests.standin.namespace import socket_in
from tests.standin.place import Place

MCP, TELEGRAM = "mcp.example.com", "api.telegram.org"


@dataclass
class World:
    """What was asked of it, and what people write to the bot."""

    folder: Path
    heads: list[dict[str, str]] = field(default_factory=list)  # of calls to the MCP server
    methods: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)  # bot's token, method, parameters
    written: asyncio.Queue[tuple[int, str]] = field(default_factory=asyncio.Queue)  # by whom, what
    receipts: Receipts = field(default_factory=Receipts)
    _updates: int = 0

    def certificate(self) -> bytes:
        """Of both hosts, and its own authority (PEM). Its key stays beside it."""
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the world")])
        made = (
            x509.CertificateBuilder(name, name, key.public_key(), 1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(each) for each in (MCP, TELEGRAM)]), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (self.folder / "key.pem").write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
        (self.folder / "cert.pem").write_bytes(made.public_bytes(pem))
        return made.public_bytes(pem)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/mcp", self._mcp)
        app.router.add_route("*", "/bot{token}/{method}", self._bot)
        return app

    def outcomes(self) -> set[tuple[str, Outcome]]:
        return {(each.host, each.outcome) for each in self.receipts.take()}

    def called(self, method: str) -> list[dict[str, Any]]:
        return [sent for _, name, sent in self.methods if name == method]

    async def _mcp(self, request: web.Request) -> web.Response:
        self.heads.append(dict(request.headers))
        if request.method != "POST":
            return web.Response(status=405)
        asked = await request.json()
        if "id" not in asked:
            return web.Response(status=202)
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": self._answer(asked)})

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        match asked["method"]:
            case "initialize":
                version = asked["params"]["protocolVersion"]
                server = {"name": "docs", "version": "1"}
                return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": server}
            case "tools/list":
                schema: dict[str, Any] = {"type": "object", "properties": {}}
                return {"tools": [{"name": "look_up", "description": "Looks it up", "inputSchema": schema}]}
            case "tools/call":
                return {"content": [{"type": "text", "text": "forty-two"}]}
            case _:
                return {}

    async def _bot(self, request: web.Request) -> web.Response:
        method = request.match_info["method"].lower()
        sent = await request.json() if request.can_read_body else {}
        self.methods.append((request.match_info["token"], method, sent))
        result: Any = True
        match method:
            case "getme":
                result = {"id": 1, "is_bot": True, "first_name": "Bot", "username": "a_bot"}
            case "getupdates":
                result = await self._news(min(float(sent.get("timeout", 0)), 2.0))
            case "sendmessage":
                result = {"message_id": 9, "date": int(time.time()), "chat": {"id": 1, "type": "private"}, "text": "x"}
        return web.json_response({"ok": True, "result": result})

    async def _news(self, wait_s: float) -> list[dict[str, Any]]:
        try:
            who, text = await asyncio.wait_for(self.written.get(), wait_s)
        except TimeoutError:
            return []
        self._updates += 1
        person = {"id": who, "is_bot": False, "first_name": "Ada"}
        message = {"message_id": self._updates, "date": int(time.time()), "from": person, "text": text}
        message["chat"] = {"id": who, "type": "private", "first_name": "Ada"}
        return [{"update_id": self._updates, "message": message}]


@asynccontextmanager
async def reached(world: World, client: docker.DockerClient, place: Place, runtime: Runtime) -> AsyncIterator[None]:
    """Meanwhile the real proxy listens on the edge, and lets this workspace to the two hosts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(world.folder / "cert.pem", world.folder / "key.pem")
    runner = web.AppRunner(world.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    internet, directory = Internet(), Directory()
    internet.host_port = runner.addresses[0][1]
    address = names.addresses(runtime.subnet).runtime
    directory.set_runtime(sha256(b"x").digest(), runtime_id=runtime.id, user_id=runtime.owner, address=address)
    permits = Permits(on_learned=lambda *learned: None)
    permits.set_rules(EVERYBODY, [])
    permits.set_rules(runtime.owner, [rule(each, runtime.owner) for each in (MCP, TELEGRAM)])
    proxy = EgressProxy(directory, permits, Asking(), world.receipts, pool=place.pool, outside=internet)
    listener = socket_in(client.api.inspect_container(place.install.edge)["State"]["Pid"])
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", place.install.egress_port))
    proxy._listening = await asyncio.start_server(proxy._take, sock=listener, limit=MOST_HEADER)
    try:
        yield
    finally:
        await proxy.close(within_s=1)
        await runner.cleanup()


PROGRAM = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    kind, result = asked["method"], {}
    if kind == "initialize":
        result = {"protocolVersion": asked["params"]["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "near", "version": "1"}}
    elif kind == "tools/list":
        told = "TOLD " + os.environ["NEAR_KEY"] + " " + sys.argv[1]
        result = {"tools": [{"name": "look", "description": told, "inputSchema": {"type": "object", "properties": {}}}]}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
"""An MCP server over stdin and stdout, which tells of its tool what it was given."""

SERVED = """
import http.server, json, subprocess, sys
words = [sys.executable, "/home/node/near.py", "x"]
child = subprocess.Popen(words, stdin=-1, stdout=-1, env={"NEAR_KEY": "k"})
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        has_answer = "id" in json.loads(asked)
        child.stdin.write(asked + b"\\n")
        child.stdin.flush()
        told = child.stdout.readline() if has_answer else b""
        self.send_response(200 if has_answer else 202)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)
http.server.HTTPServer(("127.0.0.1", 9000), Handler).serve_forever()
"""
"""The same over HTTP, in the workspace itself."""


def results_of(body: dict[str, Any]) -> str:
    """What tools have answered, as a call of a model tells it."""
    return "\n".join(str(each["content"]) for each in body["messages"] if each["role"] == "tool")

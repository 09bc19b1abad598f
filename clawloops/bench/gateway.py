"""`clawloops bench gateway`: what a model call costs on its way through, beside nginx and LiteLLM in the same run.

Needs nginx and wrk, and LiteLLM's program for the comparison with it. One core has whatever is measured, another one
the load and the upstream; the rounds of all systems take turns, and medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

import aiohttp
import orjson

from clawloops.bench import gate, rounds
from clawloops.bench.peers import Cast, Peer
from clawloops.bench.report import Figure, spread
from clawloops.bench.wrk import Load, Wrk, told
from clawloops.errors import SetupError
from clawloops.gateway.journal import Journal
from clawloops.model.usage import Call

_CONNECTIONS = 32
_PATH = "/v1/chat/completions"
_CHUNKS = 500
_STREAMS = 32  # at once
_BODY = orjson.dumps({"model": gate.MODEL, "messages": [{"role": "user", "content": "word " * 180}]}).decode()
_ASKED = orjson.dumps({"model": gate.MODEL, "messages": [{"role": "user", "content": "Hello"}], "stream": True})


def main(arguments: Sequence[str]) -> int:
    """0 when every gate holds, 1 when one does not. Raises SetupError when it cannot be measured."""
    parser = rounds.parser("gateway", __doc__)
    parser.add_argument(
        "--litellm",
        default=os.environ.get("CLAWLOOPS_LITELLM_VENV", ".venv-litellm") + "/bin/litellm",
        metavar="PROGRAM",
        help="LiteLLM's program; without one it is left out, and so is what is compared with it",
    )
    return rounds.run(_measure, parser.parse_args(arguments))


async def _measure(chosen: argparse.Namespace) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="clawloops-bench-") as name, closing(Cast(Path(name))) as cast:
        whole = await _whole_answers(cast, chosen, Path(name))
        return [*whole, *await _streams(cast, chosen)]


async def _whole_answers(cast: Cast, chosen: argparse.Namespace, folder: Path) -> list[Figure]:
    _say("whole answers of 1 KB")
    upstream = await cast.upstream()
    ours = await cast.clawloops(upstream)
    idle_mb = ours.memory_mb()
    nginx = await cast.nginx(upstream)
    peers = [nginx, ours]
    litellm = None
    if os.access(chosen.litellm, os.X_OK):
        litellm = await cast.litellm(chosen.litellm, upstream)
        peers.append(litellm)
    else:
        _say(f"there is no {chosen.litellm}: LiteLLM is left out")
    wrk = Wrk(folder)
    busy: dict[str, list[Load]] = {each.name: [] for each in peers}
    single: dict[str, list[Load]] = {each.name: [] for each in [upstream, *peers]}
    for each in peers:
        await _warm(each)

    async def load(peer: Peer, connections: int, seconds: int) -> Load:
        return await wrk.run(peer, _PATH, _script(peer), connections=connections, seconds=seconds)

    for _ in range(chosen.rounds):
        for each in peers:
            busy[each.name].append(await load(each, _CONNECTIONS, chosen.seconds))
        for each in [upstream, *peers]:
            single[each.name].append(await load(each, 1, max(1, chosen.seconds // 2)))
    figures = _compared(busy, single)
    answered = sum(each.answers for each in busy["clawloops"] + single["clawloops"])
    figures.append(
        Figure(
            name="settled counts that were lost",
            value=max(0, answered - _settled(cast.journal_of(upstream))),
            unit="",
            gate=0,
            moonshot=0,
        )
    )
    figures.append(Figure(name="memory when idle", value=idle_mb, unit="MB", gate=80, moonshot=55))
    if litellm is not None:
        figures.append(
            Figure(name="ready / LiteLLM's", value=ours.ready_s / litellm.ready_s, unit="x", gate=0.1, moonshot=0.05,
                   spread=f"{ours.ready_s:.2f} s and {litellm.ready_s:.2f} s")
        )  # fmt: skip
    return figures


def _compared(busy: dict[str, list[Load]], single: dict[str, list[Load]]) -> list[Figure]:
    def rps(name: str) -> float:
        return median(each.rps for each in busy[name])

    def added(name: str, rank: str) -> list[float]:
        direct = median(getattr(each, rank) for each in single["upstream"])
        return [getattr(each, rank) - direct for each in single[name]]

    figures = told(busy, _CONNECTIONS)
    figures += [
        Figure(name=f"{name}: added p50, p99 at one connection", value=median(added(name, "p50_ms")), unit="ms",
               spread=f"p99 {median(added(name, 'p99_ms')):.2f} ms")
        for name in busy
    ]  # fmt: skip
    figures.append(
        Figure(
            name="RPS / nginx's",
            value=rps("clawloops") / rps("nginx"),
            unit="x",
            gate=0.45,
            moonshot=0.70,
            more_is_better=True,
        )
    )
    if "litellm" in busy:
        figures.append(
            Figure(
                name="RPS / LiteLLM's",
                value=rps("clawloops") / rps("litellm"),
                unit="x",
                gate=150,
                moonshot=250,
                more_is_better=True,
            )
        )
    ratio = median(added("clawloops", "p50_ms")) / max(0.001, median(added("nginx", "p50_ms")))
    figures.append(Figure(name="added p50 / nginx's", value=ratio, unit="x", gate=2.5, moonshot=1.3))
    return figures


async def _streams(cast: Cast, chosen: argparse.Namespace) -> list[Figure]:
    _say(f"streams of {_CHUNKS} chunks")
    source = await cast.source(_CHUNKS, 0.2)
    ours = await cast.clawloops(source)
    nginx = await cast.nginx(source, buffering=False)
    first: dict[str, list[float]] = {"source": [], "nginx": [], "clawloops": []}
    cpu: dict[str, list[float]] = {"nginx": [], "clawloops": []}
    for _ in range(chosen.rounds):
        for each in (source, nginx, ours):
            took = [await _first_chunk(each) for _ in range(20)]
            first[each.name].append(median(took))
        for each in (nginx, ours):
            before = each.cpu_s()
            await asyncio.gather(*(_stream(each) for _ in range(_STREAMS)))
            cpu[each.name].append((each.cpu_s() - before) * 1e6 / (_STREAMS * _CHUNKS))
    direct = median(first["source"])
    added = {name: [(each - direct) * 1000 for each in first[name]] for name in ("nginx", "clawloops")}
    return [
        Figure(
            name="nginx: added time to the first chunk",
            value=median(added["nginx"]),
            unit="ms",
            spread=spread(added["nginx"]),
        ),
        Figure(
            name="added time to the first chunk",
            value=median(added["clawloops"]),
            unit="ms",
            gate=0.5,
            moonshot=0.2,
            spread=spread(added["clawloops"]),
        ),
        *(
            Figure(name=f"{name}: CPU", value=median(each), unit="µs/chunk", spread=spread(each))
            for name, each in cpu.items()
        ),
        Figure(
            name="CPU per chunk / nginx's",
            value=median(cpu["clawloops"]) / max(0.01, median(cpu["nginx"])),
            unit="x",
            gate=2.2,
            moonshot=1.25,
        ),
    ]


async def _warm(peer: Peer) -> None:
    """One call before the clock runs: LiteLLM's first one may take longer than a short round. Raises SetupError."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {_token(peer)}"}
    timeout = aiohttp.ClientTimeout(total=60)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
            http.post(peer.url + _PATH, data=_BODY, headers=headers) as answer,
        ):
            if answer.status != 200:
                raise SetupError(f"{peer.name} answers {answer.status}: {(await answer.text())[:500]}")
    except (aiohttp.ClientError, TimeoutError) as error:
        raise SetupError(f"{peer.name} does not answer: {error!r}") from error


def _token(peer: Peer) -> str:
    return f"sk-{gate.TOKEN}" if peer.name == "litellm" else gate.TOKEN


def _script(peer: Peer) -> str:
    return _SCRIPT % (_BODY, _token(peer))


_SCRIPT = """
wrk.method = "POST"
wrk.body = '%s'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
"""


def _ask(writer: asyncio.StreamWriter) -> None:
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (gate.TOKEN.encode(), len(_ASKED), _ASKED)
    )


async def _first_chunk(peer: Peer) -> float:
    """Seconds from the question to the first event; the connection is there before the clock runs."""
    reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
    began = time.perf_counter()
    _ask(writer)
    await reader.readuntil(b"data: ")
    took = time.perf_counter() - began
    writer.close()
    return took


async def _stream(peer: Peer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", peer.port)
    _ask(writer)
    await reader.readuntil(b"data: [DONE]")
    writer.close()


def _settled(path: Path) -> int:
    """How many calls are settled in a journal."""
    journal, count, offset = Journal(path), 0, 0
    while True:
        records, after = journal.read_from(offset)
        if after == offset:
            journal.close()
            return count
        count += sum(isinstance(record, Call) and record.status == 200 for _, record in records)
        offset = after


def _say(what: str) -> None:
    print(f"clawloops bench gateway: {what}", file=sys.stderr, flush=True)

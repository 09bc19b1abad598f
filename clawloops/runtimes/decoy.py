"""The decoy that lies in each runtime beside its token: OpenClaw never reads it, and nothing else has a reason to."""

from __future__ import annotations

from clawloops.model.decoy import Decoy, DecoyKeys
from clawloops.model.runtime import Runtime
from clawloops.runtimes.spec import GATEWAY_HOST, Install

FILE = "operator.env"


def text(runtime: Runtime, install: Install, keys: DecoyKeys) -> str:
    """The file: true addresses of this box, and a key that opens neither. Another one for each container."""
    key = keys.make(Decoy(runtime.id, runtime.generation, runtime.decoy))
    return (
        "# ClawLoops, for the operator of this box. Agents have no use for it.\n"
        f"CLAWLOOPS_DASHBOARD={install.dashboard}\n"
        f"OPENAI_BASE_URL=http://{GATEWAY_HOST}:{install.gateway_port}/v1\n"
        f"OPENAI_API_KEY={key}\n"
    )

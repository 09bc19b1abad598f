"""What carries a decoy key is noticed where it was refused anyway, and before it leaves for the internet."""

from __future__ import annotations

import aiohttp
import pytest

from clawloops.gateway.ingress import gateway as runtimes_door
from clawloops.gateway.ingress import members_door
from clawloops.model.decoy import Place
from clawloops.model.egress import Mode, Outcome
from tests.gateway.gate import LOOPBACK, TOKEN, Gateway, listening
from tests.gateway.way_out import open_way_out

DECOY = "clk_a-decoy"
THIEF = "203.0.113.9"


class Spotter:
    """Knows one decoy."""

    def __init__(self) -> None:
        self.looked: list[str] = []
        self.spotted: list[tuple[Place, str]] = []

    def __call__(self, text: str, place: Place, origin: str) -> bool:
        self.looked.append(text)
        if DECOY not in text:
            return False
        self.spotted.append((place, origin))
        return True


async def _ask(url: str, path: str = "/v1/models", **headers: str) -> tuple[int, str]:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession() as client, client.get(url + path, headers=sent) as answer:
        return answer.status, await answer.text()


@pytest.mark.attacks
async def test_at_members_door_it_is_noticed_with_the_address_that_traefik_saw(gateway: Gateway) -> None:
    spot = Spotter()
    async with listening(members_door(gateway.directory, gateway.proxy, spot=spot)) as url:
        for headers in (
            {"Authorization": f"Bearer {DECOY}"},
            {"X_Api_Key": DECOY},
            {"Authorization": DECOY},
            {"Api_Key": DECOY},
            {"Authorization": f"Bearer {DECOY}", "X_Api_Key": DECOY},
        ):
            refused = await _ask(url, X_Forwarded_For=f"10.9.8.7, {THIEF}", **headers)
            assert refused[0] == 401
        assert spot.spotted == [(Place.TOOLS, THIEF)] * 5
        for path, status in (("/v1/engines", 404), ("/v1/chat/completions", 405)):
            assert (await _ask(url, path, X_Api_Key=DECOY))[0] == status
        assert spot.spotted[5:] == [(Place.TOOLS, "127.0.0.1")] * 2
        wrong = await _ask(url, Authorization="Bearer clk_wrong")
        decoy = await _ask(url, Authorization=f"Bearer {DECOY}")
        assert decoy == wrong, "the answer does not tell a decoy from any other key"


@pytest.mark.attacks
async def test_at_runtimes_door_it_is_noticed_with_the_runtime_that_used_it(gateway: Gateway) -> None:
    spot = Spotter()
    door = runtimes_door(gateway.directory, gateway.proxy, pool=LOOPBACK, spot=spot)
    async with listening(door) as url:
        assert (await _ask(url, Authorization=f"Bearer {DECOY}"))[0] == 401
        assert spot.spotted == [(Place.GATEWAY, "r-ada")]
        spot.looked.clear()
        assert (await _ask(url, Authorization=f"Bearer {TOKEN}", X_Note=DECOY))[0] == 200
        assert spot.looked == [], "nothing is looked for in what a good key brings"


@pytest.mark.attacks
@pytest.mark.parametrize("mode", [Mode.OPEN, Mode.LISTED, Mode.NONE])
async def test_a_plain_request_that_carries_it_does_not_leave(mode: Mode) -> None:
    spot = Spotter()
    async with open_way_out(spot=spot) as out:
        out.set(mode)
        for sent in (
            f"GET http://example.org/ HTTP/1.1\r\nAuthorization: Bearer {DECOY}\r\n\r\n",
            f"GET http://example.org/?key={DECOY} HTTP/1.1\r\n\r\n",
            f"CONNECT example.org:443 HTTP/1.1\r\nX-Api-Key: {DECOY}\r\n\r\n",
        ):
            answer = await out.ask(sent.encode())
            assert answer.startswith(b"HTTP/1.1 403 ") and b"not to be used" in answer
        assert spot.spotted == [(Place.INTERNET, "r-ada")] * 3
        assert (out.host.heads, out.internet.asked) == ([], [])
        assert {outcome for _, _, outcome in out.outcomes()} == {Outcome.DECOY}
        for sent in (
            f"POST http://example.org/ HTTP/1.1\r\nAuthorization: {DECOY}\r\nTransfer-Encoding: chunked\r\n\r\n",
            f"GET /{DECOY} HTTP/1.1\r\n\r\n",
        ):
            assert (await out.ask(sent.encode()))[9:10] == b"4"
        assert len(spot.spotted) == 5, "what is refused for another reason is looked through as well"
        out.set(Mode.OPEN)
        assert b"there" in await out.ask(b"GET http://example.org/ HTTP/1.1\r\n\r\n")

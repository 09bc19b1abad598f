"""Bad input for every form of the dashboard: what is sent, and the field that is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Bad:
    """`{word}` in a path or a value stands for the id of a thing that is there."""

    path: str
    sent: Mapping[str, str]
    wrong: str = ""  # the field; "": an alarm on the page, as it belongs to none
    status: int = 400
    is_known: bool = True  # somebody who is signed in
    is_choice: bool = False  # what no list offers is sent by a program: it is told, and cannot be chosen again

    def covers(self, route: str) -> bool:
        """Whether it is sent there."""
        return re.fullmatch(pattern(route), self.path) is not None


def pattern(path: str) -> str:
    """What matches a path in which `{word}` stands for any one step of the way."""
    return re.sub(r"{\w+}", "[^/]+", path)


LONG = "x" * 500
CONNECT = {"kind": "openai", "url": "not an address", "models": "small", "name": "Lab"}
MAIL = {"host": "no host!", "port": "587", "security": "starttls", "user": "box", "sender": "box@example.com"}
MCP = {"editing": "new", "name": "no name!", "kind": "stdio", "target": "python3 server.py"}
PROVIDER = {
    "issuer": "no address",
    "client_id": "agents",
    "label": "Work",
    "first_login": "members",
    "groups_claim": "groups",
}
THIS = {"model": "{weights}", "context-of": "{weights}"}
NAME = {"name": "no name!", "open": "some", "context_window": "32768", "max_tokens": "8192"}
PRICE = {"price-of": "{backend}/{upstream}", "input": "much", "cached": "1", "output": "2"}
PLACE = {"place": "no host!", "verdict": "refuse"}
CASES = [
    Bad("/sign-in", {"login": "olga", "password": "wrong"}, is_known=False, status=401),
    Bad(
        "/join/{invitation}",
        {"name": "Ken", "login": "No Good", "password": "a long enough one"},
        "login",
        is_known=False,
    ),
    Bad("/reset/{reset}", {"password": "short"}, "password", is_known=False),
    Bad("/account/password", {"current": "wrong", "password": "a long enough one"}, "current"),
    Bad("/account/tokens", {"name": LONG, "days": "90", "scopes": "me:read"}, "name"),
    Bad("/keys", {"name": LONG, "days": "90"}, "name"),
    Bad("/workspace/settings", {"policy": "no such one"}, is_choice=True),
    Bad("/workspace/files/give", {"number": "{snapshot}", "to": "nobody"}, "to"),
    Bad("/workspace/internet", PLACE, "place"),
    Bad("/workspace/internet/reach", {"mode": "no such one"}, is_choice=True),
    Bad("/workspace/connections", MCP, "name"),
    Bad("/workspace/connections/{connection}", {**MCP, "editing": "{connection}"}, "name"),
    Bad("/workspace/telegram", {"editing": "telegram", "key": "no token", "people": "123456789"}, "key"),
    Bad("/first-run/invite", {"note": LONG}, "note"),
    Bad("/models", CONNECT, "url"),
    Bad(
        "/models/backends/{backend}/load",
        {"load-of": "{backend}", "slots": "many", "watts": "300", "memory": "24"},
        "slots",
    ),
    Bad("/models/backends/{backend}/keys", {"shelf": "{backend}", "note": "Olga's", "key": ""}, "key"),
    Bad("/models/names", {"for": "name", "name": "no name!", "backend": "{backend}", "upstream": "{upstream}"}, "name"),
    Bad("/models/names/{name}", NAME, "name"),
    Bad("/models/names/{name}/price", PRICE, "input"),
    Bad("/models/library/{backend}/pull", {"for": "pull", "model": "not a name", "offer": "on"}, "model"),
    Bad("/models/library/{backend}/context", {**THIS, "context": "many"}, "context"),
    Bad("/members", {"note": LONG, "role": "viewer", "group": "{group}"}, "note"),
    Bad("/members/list", {"list": "Ken, ken@example.com, , king"}, "list"),
    Bad("/members/groups", {"group": "", "weight": "2"}, "group"),
    Bad("/members/groups/{group}", {"group": "Designers", "weight": "0"}, "weight"),
    Bad("/members/second-factor", {"require": "no such one"}, is_choice=True),
    Bad("/members/mail", MAIL, "host"),
    Bad("/members/mail", {**MAIL, "host": "mail.example.com", "security": "none"}, "security"),
    Bad("/members/mail/test", {"for": "test", "recipient": "nobody"}, "recipient"),
    Bad("/members/{linus}/role", {"role": "no such one"}, is_choice=True),
    Bad("/members/sign-in", PROVIDER, "issuer"),
    Bad("/members/sign-in", {**PROVIDER, "issuer": "https://auth.example.com", "scopes": "openid"}, "first_login"),
    Bad("/usage/compare", {"model": "no such model"}, "model"),
    Bad("/budgets", {"whom": "box", "amount": "many", "measure": "cost", "span": "day"}, "amount"),
    Bad("/budgets/{budget}", {"amount": "many", "editing": "{budget}"}, "amount"),
    Bad("/audit/verify", {"head": "none"}, "head"),
    Bad("/box/decoys", {"consequence": "no such one"}, is_choice=True),
    Bad("/box/internet", PLACE, "place"),
    Bad("/box/internet/reach", {"mode": "no such one"}, is_choice=True),
    Bad("/box/workspaces/{workspace}/settings", {"policy": "pause", "size": "large", "pin": "no image!"}, "pin"),
    Bad("/box/workspaces/{workspace}/internet", PLACE, "place"),
    Bad("/box/workspaces/{workspace}/internet/reach", {"mode": "no such one"}, is_choice=True),
    Bad("/box/workspaces/{workspace}/inspections", {"editing": "inspection", "reason": "", "minutes": "60"}, "reason"),
]

"""The table of all secrets of a box: where each may stand, and why; the tests look that it stands nowhere else.

`tests/web/test_canaries.py` plants them in a box without Docker and walks every page, the database and the log;
`tests/e2e/test_secrets.py` looks for those of an installed appliance in every container, log, file and answer.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote, quote_plus

from markupsafe import escape


class Tried(StrEnum):
    """Where a canary of its kind is planted."""

    BOX = "tests/web/test_canaries.py"
    APPLIANCE = "tests/e2e/test_secrets.py"
    ACME = "tests/tls/test_acme.py"
    SHELL = "tests/test_cli_member.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One kind of secret. What is not named here may hold it in no spelling: no log, answer, file, column, inspect."""

    name: str
    tried: frozenset[Tried]
    columns: tuple[str, ...] = ()  # keep it, sealed or as a hash: never itself
    settings: tuple[str, ...] = ()  # tell the file that holds it: never itself
    files: tuple[str, ...] = ()  # below DATA, as it is
    holders: tuple[str, ...] = ()  # containers that see these files or have it in memory; "runtime": its own
    shown: tuple[str, ...] = ()  # answers that tell it, once, to whom it belongs
    why: str


_BOX, _BOTH = frozenset({Tried.BOX}), frozenset({Tried.BOX, Tried.APPLIANCE})
_SEALED = ("wrapped", "nonce", "ciphertext")

SECRETS = (
    Secret(
        name="master key", tried=_BOTH, files=("keys/master*",), holders=("clawloops",),
        why="opens what is sealed; read from its file at each start",
    ),
    Secret(
        name="key of the audit's chain", tried=_BOX, columns=("meta.value",),
        why="sealed under the master key; in memory of the control plane",
    ),
    Secret(
        name="key of a provider or backend", tried=_BOTH, columns=tuple(f"credentials.{each}" for each in _SEALED),
        why="sealed; opened in memory, and handed to LiteLLM with each call",
    ),
    Secret(
        name="headers, variables and bot's token of a connection", tried=_BOX,
        columns=tuple(f"connections.{each}" for each in _SEALED), files=("runtimes/*/config/openclaw.json",),
        holders=("clawloops", "guard", "runtime"), why="sealed; its own agent has to use them, and nobody else's does",
    ),
    Secret(
        name="LiteLLM's internal key", tried=frozenset({Tried.APPLIANCE}), settings=("litellm_key_file",),
        files=("secrets/litellm.key",), holders=("litellm", "clawloops"),
        why="both sides read it from one file; LiteLLM takes it from its environment, which Docker does not know",
    ),
    Secret(
        name="password of PostgreSQL", tried=frozenset({Tried.APPLIANCE}), settings=("database_password_file",),
        files=("secrets/postgres.password",), holders=("postgres", "clawloops"), why="both sides read it from one file",
    ),
    Secret(
        name="private key of a certificate or authority", tried=frozenset({Tried.APPLIANCE}), settings=("tls_key",),
        files=("authority/*", "traefik/dynamic/certificate.yml", "traefik/dynamic/again/*"),
        holders=("certificates", "traefik"), why="one makes or reads it, the other one serves with it",
    ),
    Secret(
        name="credentials of a DNS provider, and the ACME account", tried=frozenset({Tried.ACME}), files=("acme/*",),
        holders=("traefik",), why="they reach its process past Docker",
    ),
    Secret(
        name="token of a runtime", tried=frozenset({Tried.APPLIANCE}), columns=("runtimes.token_hash",),
        files=("runtimes/*/secret/model-token",), holders=("clawloops", "guard", "runtime"),
        why="good from one address; the two see the folders of runtimes",
    ),
    Secret(
        name="token of a webhook", tried=_BOX, columns=("runtimes.hook_hash",),
        shown=("POST /workspace/webhook", "POST /box/workspaces/{id}/webhook"),
        why="kept as a hash. That hash is what OpenClaw is told, and opens nothing from outside",
    ),
    Secret(
        name="key for own tools", tried=_BOTH, columns=("api_keys.token_hash",), shown=("POST /keys",),
        why="kept as a hash, with its first ten characters to tell it by",
    ),
    Secret(
        name="token for programs", tried=_BOX, columns=("personal_tokens.token_hash",),
        shown=("POST /account/tokens",), why="kept as a hash, with its first ten characters to tell it by",
    ),
    Secret(
        name="key that decoys are made with", tried=_BOX, columns=("meta.value",),
        why="sealed under the master key; in memory of the control plane. The decoys themselves are to be found",
    ),
    Secret(
        name="link of an invitation, or to set the box up", tried=_BOTH, columns=("invitations.token_hash",),
        shown=("POST /members", "POST /members/list", "GET /join/{token}", "POST /join/{token}"),
        why="kept as a hash; the form behind a link sends to that link. One in an e-mail is derived from a key",
    ),
    Secret(
        name="key that links in e-mails are made with", tried=_BOX, columns=("meta.value",),
        why="sealed under the master key; in memory of the control plane",
    ),
    Secret(
        name="link for a new password", tried=_BOX, columns=("password_resets.token_hash",),
        shown=("POST /members/{id}/reset", "GET /reset/{token}", "POST /reset/{token}"),
        why="kept as a hash; the form behind a link sends to that link",
    ),
    Secret(
        name="password of the mail server", tried=_BOX, columns=("meta.value",),
        why="sealed under the master key, for one server and user; said to that server alone",
    ),
    Secret(name="password of a member", tried=_BOTH, columns=("users.password_hash",), why="kept as Argon2id"),
    Secret(
        name="new password from the shell", tried=frozenset({Tried.SHELL}), columns=("users.password_hash",),
        why="printed once by `clawloops member reset`",
    ),
    Secret(
        name="secret of an authenticator app", tried=_BOX, columns=tuple(f"authenticators.{each}" for each in _SEALED),
        shown=("POST /account/app", "POST /account/app/confirm"),
        why="sealed; shown while it is set up, to that session, until a code has confirmed it",
    ),
    Secret(
        name="client secret of the identity provider", tried=_BOX, columns=tuple(f"issuers.{each}" for each in _SEALED),
        why="sealed; opened in memory, and sent to the provider's token endpoint alone",
    ),
    Secret(
        name="recovery code", tried=_BOX, columns=("recovery_codes.hash",),
        shown=("POST /account/app/confirm", "POST /account/passkeys", "POST /account/codes"), why="kept as a hash",
    ),
    Secret(
        name="session of the dashboard", tried=_BOTH, columns=("sessions.hash", "sessions.parent"),
        shown=("POST /sign-in", "POST /sign-in/second", "POST /sign-in/passkey", "POST /join/{token}"),
        why="kept as a hash; set as a cookie. The token in forms is derived from it, and leads not back",
    ),
    Secret(
        name="session of a workspace", tried=_BOX, columns=("sessions.hash",), shown=("GET /.clawloops/cb",),
        why="kept as a hash; set as a cookie",
    ),
    Secret(
        name="cookie before there is a session", tried=_BOX, shown=("GET /sign-in", "GET /join/{token}"),
        why="in memory as a hash; the half-session between two steps is one, too",
    ),
    Secret(
        name="code of a hand-over", tried=_BOX, shown=("GET /handover",),
        why="in memory as a hash; 30 seconds, once, in the address that the browser is sent to",
    ),
)  # fmt: skip

SMELL = re.compile(
    r"pass|secret|token(?!s)|key|code|cred|hash|wrapped|nonce|cipher|salt|seed|priv|cookie|auth|handle|parent"
)

NO_SECRETS = {
    "api_keys.hint": "the first ten of 47 characters",
    "audit.hash": "the chain; its key is elsewhere",
    "budgets.key_id": "an id of ours",
    "usage.key_id": "an id of ours",
    "usage_days.key_id": "an id of ours",
    "personal_tokens.hint": "the first ten of 47 characters",
    "api_keys.token_id": "an id of ours",
    "credentials.key_id": "which master key; tells nothing about it",
    "issuers.key_id": "which master key; tells nothing about it",
    "connections.key_id": "which master key; tells nothing about it",
    "authenticators.key_id": "which master key; tells nothing about it",
    "credentials.hint": "the last four characters",
    "meta.key": "a name",
    "passkeys.public_key": "public",
    "passkeys.handle": "random, and of no use without the authenticator",
    "passkeys.credential_id": "a name that the authenticator chose",
    "auth_listen": "an address",
}
"""What smells like one in the database and in the settings, and is none."""


def spelled(secret: str) -> dict[str, str]:
    """Every spelling that is looked for, by its name; written here once more, so that no mistake is shared."""
    raw = secret.encode()
    found = {
        "as it is": secret,
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "base64": _certain(base64.b64encode(raw)),
        "base64, one byte on": _certain(base64.b64encode(b"." + raw)[2:]),
        "base64, two bytes on": _certain(base64.b64encode(b".." + raw)[3:]),
        "base64 for addresses": _certain(base64.urlsafe_b64encode(raw)),
        "in an address": quote(secret, safe=""),
        "in a form": quote_plus(secret),
        "in JSON": json.dumps(secret)[1:-1],
        "in JSON of PHP": json.dumps(secret)[1:-1].replace("/", "\\/"),
        "in JSON of .NET": "".join(each if each.isalnum() else f"\\u{ord(each):04X}" for each in secret),
        "in HTML": html.escape(secret),
        "in HTML of Jinja": str(escape(secret)),
        "reversed": secret[::-1],
    }
    if re.fullmatch(r"(?:[0-9a-f]{2}){16,}", secret):  # keys that are kept in hex
        key = bytes.fromhex(secret)
        found |= {"its bytes in base64": base64.b64encode(key).decode(), "its bytes, printed": repr(key)[2:-1]}
    return found


def _certain(encoded: bytes) -> str:
    """Without the last character where what follows the secret would have a share in it."""
    text = encoded.decode()
    return text.rstrip("=")[:-1] if text.endswith("=") else text


def leaks(text: str, planted: Mapping[str, list[str]], *, but: str = "") -> list[str]:
    """Which of the planted secrets stand in a text, and how spelled. `but`: the answer that the text is."""
    allowed = {each.name for each in SECRETS if but in each.shown}
    return [
        f"{name} ({how})"
        for name, secrets in planted.items()
        if name not in allowed
        for secret in secrets
        for how, spelling in spelled(secret).items()
        if spelling in text
    ]

"""Where models come from: backends, the keys they need, and the public names that members see."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from clawloops.model.usage import FREE, Price


class BackendKind(StrEnum):
    OLLAMA = "ollama"  # spoken to directly, native address without /v1 (http://ollama:11434)
    OPENAI = "openai"  # any OpenAI-compatible server (vLLM, llama.cpp, LM Studio, OpenAI); address ends in /v1
    LITELLM = "litellm"  # a provider that LiteLLM translates; `provider` is LiteLLM's prefix ("anthropic")


@dataclass(frozen=True, slots=True)
class Backend:
    id: str  # "b" + 16 hex
    name: str
    kind: BackendKind
    url: str  # base address; for LITELLM the provider's own address override, or ""
    provider: str  # LiteLLM's provider prefix; "" for the other kinds
    created_at: int
    slots: int = 0  # calls that it serves at once, the others wait for their turn; 0: as many as come
    watts: int = 0  # what it draws while all slots are taken; 0: not known
    memory_mb: int = 0  # of its GPU, MiB; 0: not known

    def energy_mwh(self, held_ms: int) -> int:
        """What a call drew that had one of the slots for so long, in thousandths of a watt-hour."""
        return self.watts * held_ms // (3600 * self.slots) if self.slots else 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is served."""

    backend_id: str
    upstream: str  # the backend's own name for it


@dataclass(frozen=True, slots=True)
class Model:
    """A public name, and where it leads."""

    id: str  # "m" + 16 hex
    name: str  # the public name: what members and runtimes see; unique, matched exactly
    places: tuple[Place, ...]  # at least one; a later one is for when those before it fail
    context_window: int  # tokens
    max_tokens: int  # tokens of one answer
    is_default: bool
    created_at: int
    is_open: bool = True  # to everybody; otherwise to those whom its grants name


@dataclass(frozen=True, slots=True)
class Grants:
    """Whom a name that is not open to everybody is open to."""

    users: frozenset[str] = frozenset()  # ids
    groups: frozenset[str] = frozenset()  # ids


@dataclass(frozen=True, slots=True)
class Credential:
    """A backend's key, opened: in memory only, never logged."""

    id: str
    key: str = field(repr=False)
    users: frozenset[str] | None = None  # ids of those whose calls it is for; None: everybody's


@dataclass(frozen=True, slots=True)
class Target:
    """One place, with all that a call to it needs."""

    backend: Backend
    upstream: str
    credentials: tuple[Credential, ...] = ()  # none: it wants no key
    price: Price = FREE

    def credentials_for(self, user_id: str) -> tuple[Credential | None, ...]:
        """The keys to try for this member: their own group's alone where it has some, else everybody's.

        `(None,)`: the backend wants no key. `()`: it does, and has none for this member.
        """
        if not self.credentials:
            return (None,)
        own = tuple(each for each in self.credentials if each.users is not None and user_id in each.users)
        return own or tuple(each for each in self.credentials if each.users is None)


@dataclass(frozen=True, slots=True)
class Route:
    """A public name as the gateway follows it."""

    model: Model
    targets: tuple[Target, ...]
    users: frozenset[str] | None = None  # ids of those who may use it; None: everybody

    @property
    def dearest(self) -> Price:
        """The most that each kind of its tokens may cost."""
        if len(self.targets) == 1:
            return self.targets[0].price
        prices = [target.price for target in self.targets]
        if all(price is FREE for price in prices):
            return FREE
        return Price(*(max(getattr(price, kind) for price in prices) for kind in ("input", "output", "cached")))

    def is_open_to(self, user_id: str) -> bool:
        return self.users is None or user_id in self.users

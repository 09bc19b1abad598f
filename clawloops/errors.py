"""Every deliberate error. The tree, and the HTTP status each one becomes:

ClawLoopsError                 500  a refusal or failure that we understand; its text names the next step
├── BadInput                   400  a field's value is not acceptable; `field` says which
├── NotSignedIn                401  no valid session
├── Forbidden                  403  signed in, but not allowed
├── NotFound                   404
│   └── Gone                   410  a link that was used or has expired
├── Conflict                   409  somebody changed it meanwhile
├── TooManyAttempts            429  sign-in throttled; `retry_after_s`
├── Unavailable                503  a part that we need does not answer now; a retry may help
│   ├── EngineUnavailable      503  the Docker Engine does not answer
│   └── BackendUnavailable     502  a model backend does not answer
├── MailNotSent                502  the mail server cannot be reached, or did not take an e-mail
├── BackendRefused             502  a model backend answered, with a refusal (wrong key, unknown model)
├── BadIssuer                  502  an identity provider answered with what cannot be used or believed
├── EngineRefused              500  the Docker Engine refused a call
├── SealBroken                 500  a sealed secret does not open (wrong key, swapped or changed row)
└── SetupError                 500  start-up cannot go on (wrong master key, newer schema, unreadable settings)

The status of each class stands in `clawloops/web/errors.py` (for callers of models: `clawloops/gateway/answers.py`);
nothing else decides a status.
"""

from __future__ import annotations


class ClawLoopsError(Exception):
    """A failure that we understand. Its text is shown to people, so it names the next step and holds no secret."""


class BadInput(ClawLoopsError):
    """A value cannot be accepted. `field` is the form field or JSON key it came from ("" for the whole input)."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotSignedIn(ClawLoopsError):
    """There is no valid session."""


class Forbidden(ClawLoopsError):
    """The caller is known, and may not do this."""


class NotFound(ClawLoopsError):
    """There is no such thing, or the caller may not know of it."""


class Gone(NotFound):
    """A one-time link that has been used or has expired."""


class Conflict(ClawLoopsError):
    """The thing was changed by somebody else between reading and writing."""


class TooManyAttempts(ClawLoopsError):
    """Sign-in is throttled for this account or address."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(ClawLoopsError):
    """A part that we need does not answer now; trying again later may help."""


class EngineUnavailable(Unavailable):
    """The Docker Engine does not answer (down, restarting, or over the time limit). Says nothing about containers."""


class BackendUnavailable(Unavailable):
    """A model backend cannot be reached or broke off."""


class BackendRefused(ClawLoopsError):
    """A model backend answered with a refusal; `status` is the HTTP status it gave."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class MailNotSent(ClawLoopsError):
    """An e-mail was not taken. `field`: the setting to blame, "" for none; `is_final`: another try would not help."""

    def __init__(self, message: str, *, field: str = "", is_final: bool = False) -> None:
        super().__init__(message)
        self.field = field
        self.is_final = is_final


class BadIssuer(ClawLoopsError):
    """An identity provider answered with what cannot be used or believed; the text is the end of a sentence on it."""


class EngineRefused(ClawLoopsError):
    """The Docker Engine refused a call; `status` is the HTTP status it gave."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class SealBroken(ClawLoopsError):
    """A sealed secret does not open: wrong master key, or a row that was swapped or changed."""


class SetupError(ClawLoopsError):
    """Start-up cannot go on; the text says what to repair."""

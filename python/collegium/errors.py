"""What can go wrong: one class for each kind of failure, each with a built-in base too.

``except collegium.Error`` catches all of them; ``except ValueError``, ``LookupError``, ``OSError``
catch them as they would the standard library's. Ctrl-C in a long call is KeyboardInterrupt.
"""

from __future__ import annotations


class Error(Exception):
    """Any failure that Collegium reports. The message says what, the value seen, and where."""


class InvalidArgumentError(Error, ValueError):
    """An argument is malformed whatever the state of the object."""


class NotFoundError(Error, LookupError):
    """A file, id, collection or model is not there."""


class AlreadyExistsError(Error, ValueError):
    """Something that must be unique would be overwritten."""


class FailedPreconditionError(Error, RuntimeError):
    """A well-formed call that the object cannot serve in this state (closed, not fitted)."""


class CorruptionError(Error, RuntimeError):
    """A file or a store is damaged."""


class NotSupportedError(Error, NotImplementedError):
    """A newer format, or a part of a model that this build does not run."""


class BusyError(Error, OSError):
    """Someone else holds it; the message says who."""


class IoError(Error, OSError):
    """The operating system refused a read or a write."""


class ResourceExhaustedError(Error, OSError):
    """Disk full, or a memory bound reached."""


class CancelledError(Error, RuntimeError):
    """A progress callback returned False. What was acknowledged before stays."""


class InternalError(Error, RuntimeError):
    """A bug in Collegium."""


_CLASSES: dict[str, type[Error]] = {
    "invalid_argument": InvalidArgumentError,
    "not_found": NotFoundError,
    "already_exists": AlreadyExistsError,
    "failed_precondition": FailedPreconditionError,
    "corruption": CorruptionError,
    "not_supported": NotSupportedError,
    "busy": BusyError,
    "io_error": IoError,
    "resource_exhausted": ResourceExhaustedError,
    "cancelled": CancelledError,
    "internal": InternalError,
}


def error_class(code: str) -> type[Error]:
    """The class for a C++ status code's name; the compiled module raises through it."""
    return _CLASSES.get(code, InternalError)

"""Requests to a location: asked again while it is busy, explained where it refuses.

What goes wrong is classed by what the caller should do: TransientError where nobody answers,
answers come torn or the store asks for patience (408, 429, 5xx), ConfigError where permission, a
bucket or credentials are missing. That there is no such file is a FileNotFoundError, which only
the caller can class.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import fsspec
from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from xner.errors import ConfigError, TransientError, XnerError

_T = TypeVar("_T")

MAX_ATTEMPTS = 6
_MAX_SECONDS = 60.0
_WAIT = wait_random_exponential(multiplier=0.5, max=10)

# What the stores' libraries repeat themselves is not repeated here: s3fs asks 5 times, and botocore
# below it 5; gcsfs 6, the Azure SDK 4, huggingface_hub 6. A local disk is not busy.
_REPEATED_BY_THE_LIBRARY = {
    *("file", "local", "memory"),
    *("s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "hf"),
}

# Errors of libraries that need not be an OSError, by module: their bases, and those of them that
# say that no whole answer came. A library is slow to import, and one that is not loaded cannot have
# raised. huggingface_hub works with either of the two httpx.
_LIBRARIES = {
    "aiohttp": (("ClientError",), ("ClientError",)),
    "httpx": (("HTTPError",), ("HTTPError",)),
    "httpx2": (("HTTPError",), ("HTTPError",)),
    "botocore.exceptions": (
        ("BotoCoreError", "ClientError"),
        ("HTTPClientError", "ConnectionError"),
    ),
    "gcsfs.retry": (("HttpError",), ()),
    "google.auth.exceptions": (("GoogleAuthError",), ("TransportError",)),
    "azure.core.exceptions": (("AzureError",), ("ServiceRequestError", "ServiceResponseError")),
}

_BUSY = {408, 425, 429}
_NOT_THERE = {403, 404, 410}


def library_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
    """The others, and what the libraries raise that need not be an OSError."""
    return (*others, *_loaded(0))


def _loaded(which: int) -> tuple[type[Exception], ...]:
    return tuple(
        getattr(sys.modules[module], name)
        for module, names in _LIBRARIES.items()
        if module in sys.modules
        for name in names[which]
    )


def ask(where: str, filesystem: fsspec.AbstractFileSystem, request: Callable[[], _T]) -> _T:
    """What ``request`` to the file system returns, repeated with growing, random pauses.

    At most six times within a minute, and only where the library does not repeat it itself.

    Raises:
        FileNotFoundError: the location knows no such file.
        ConfigError, TransientError: as the module says, naming ``where``.
    """
    repeated = Retrying(
        retry=retry_if_exception(_is_transient),
        stop=stop_after_attempt(MAX_ATTEMPTS) | stop_after_delay(_MAX_SECONDS),
        wait=_WAIT,
        reraise=True,
    )
    try:
        if protocols(filesystem) & _REPEATED_BY_THE_LIBRARY:
            return request()
        return repeated(request)
    except library_errors(OSError) as error:
        raise explained(error, where) from error


@contextmanager
def open_file(
    where: str, filesystem: fsspec.AbstractFileSystem, path: str, **settings: Any
) -> Iterator[IO[bytes]]:
    """A file to read, each block of which is asked for as :func:`ask` does."""
    file = ask(where, filesystem, lambda: filesystem.open(path, "rb", **settings))
    with file:
        cache = getattr(file, "cache", None)
        fetch = getattr(cache, "fetcher", None)
        if cache is not None and fetch is not None:
            cache.fetcher = lambda start, end: ask(where, filesystem, lambda: fetch(start, end))
        yield file


def protocols(filesystem: fsspec.AbstractFileSystem) -> set[str]:
    """The names of the file system's protocol."""
    protocol = filesystem.protocol
    return {protocol} if isinstance(protocol, str) else set(protocol)


def explained(error: BaseException, where: str) -> BaseException:
    """What an error of a location says to the user: a ConfigError or TransientError.

    An error of our own, or one that says that there is no such file, is returned itself.
    """
    if isinstance(error, XnerError) or _says_missing(error):
        return error
    number = getattr(error, "errno", None)
    status = _status(error)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return TransientError(
            f"{where}: {_text(error)}; what was committed stays, so free some space and run again"
        )
    if isinstance(error, FileExistsError | NotADirectoryError):
        return ConfigError(f"{where}: a file stands where a folder is expected")
    if isinstance(error, IsADirectoryError):
        return ConfigError(f"{where}: is a folder; expected a file")
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ConfigError(f"{where}: no permission: {_text(error)}")
    if isinstance(error, PermissionError) or status in (401, 403) or _lacks_credentials(error):
        return ConfigError(
            f"{where}: access is refused: {_text(error)}; give every process credentials that may "
            "do this in the usual way (environment, profile or role), not in the recipe"
        )
    if _is_transient(error):
        return TransientError(f"{where}: does not answer as it should: {_text(error)}")
    return ConfigError(f"{where}: the request is refused: {_text(error)}")


def _text(error: BaseException) -> str:
    return getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"


def _says_missing(error: BaseException) -> bool:
    """Over HTTP fsspec raises FileNotFoundError also when no answer came; the cause tells."""
    if not isinstance(error, FileNotFoundError):
        return False
    cause = error.__cause__
    return not isinstance(cause, library_errors()) or _status(cause) in _NOT_THERE


def _is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment."""
    if isinstance(error, FileNotFoundError) and not _says_missing(error):
        return error.__cause__ is not None and _is_transient(error.__cause__)
    status = _status(error)
    if status is not None:
        return status in _BUSY or (status >= 500 and status != 501)
    if isinstance(error, ValueError | PermissionError | FileNotFoundError):
        return False
    if isinstance(error, (TimeoutError, ConnectionError, *_loaded(1))):
        return True
    refused = (errno.EINVAL, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSYS)
    return isinstance(error, OSError) and error.errno not in refused


def _status(error: BaseException) -> int | None:
    """The HTTP status that the error, or what it was translated from, carries."""
    # What aiohttp says of a torn answer comes from an error that calls itself a 400.
    for each in (error, error.__cause__ if isinstance(error, OSError) else None):
        # The time-out of a store is a 400 to S3.
        if each is None or isinstance(each, TimeoutError):
            return None
        response = getattr(each, "response", None)
        if isinstance(response, Mapping):
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            found = next(
                (
                    value
                    for holder in (each, response)
                    for name in ("status", "status_code", "code")
                    if (value := getattr(holder, name, None)) is not None
                ),
                None,
            )
        if isinstance(found, int | str) and str(found).isdigit() and int(found) >= 300:
            return int(found)
    return None


def _lacks_credentials(error: BaseException) -> bool:
    names = {each.__name__ for each in type(error).__mro__}
    return bool(
        names
        & {
            *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"),
            *("ProfileNotFound", "DefaultCredentialsError", "ClientAuthenticationError"),
        }
    )

"""The three kinds of failure, classed by what the caller should do about them."""

from __future__ import annotations

import re

# The user and password of a URL, and the values of its query that open what is locked.
_CREDENTIALS = re.compile(
    # Before the @ of Azure's URLs stands a container: a user alone is one over HTTP only.
    r"(?i)(?:(?<=http://)|(?<=https://))[^\s/?#]*@|(?<=://)[^\s/?#@:]*:[^\s/?#]*@"
    r"|(?<=[?&;])((?:x-(?:amz|goog)-[^=&;#\s]*"
    r"|[^=&;#\s]*(?:key|secret|sig|signature|token|password|passwd|pwd|auth))=)[^&#\s]*"
)


def without_credentials(text: str) -> str:
    """The text with passwords and keys taken out of the URLs in it, for messages and records."""
    return _CREDENTIALS.sub(lambda found: f"{found[1]}***" if found[1] else "", text)


class XnerError(Exception):
    """Base of every error that is meant for the user; its text is the whole message."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class ConfigError(XnerError):
    """The configuration must be changed: names the file and key, and says what would be right."""

    exit_code = 2


class DataError(XnerError):
    """This input is bad: names the file and, where there is one, the line and the byte."""

    exit_code = 3


class TransientError(XnerError):
    """Nothing is wrong with configuration or input; the same call may succeed later."""

    exit_code = 4

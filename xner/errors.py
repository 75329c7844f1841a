"""The three kinds of failure, classed by what the caller should do about them."""

from __future__ import annotations


class XnerError(Exception):
    """Base of every error that is meant for the user; its text is the whole message."""

    exit_code = 1


class ConfigError(XnerError):
    """The configuration must be changed: names the file and key, and says what would be right."""

    exit_code = 2


class DataError(XnerError):
    """This input is bad: names the file and, where there is one, the line and the byte."""

    exit_code = 3


class TransientError(XnerError):
    """Nothing is wrong with configuration or input; the same call may succeed later."""

    exit_code = 4

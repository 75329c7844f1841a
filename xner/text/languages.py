"""Codes of languages, as OPUS writes them."""

from __future__ import annotations


def language_of(code: str) -> str:
    """The language alone of a code that may name a country or a script too: ``zh`` of ``zh_CN``."""
    return code.partition("_")[0].lower()

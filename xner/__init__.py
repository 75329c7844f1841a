"""Named entity recognition for languages without labels, learned from parallel text."""

__version__ = "0.1.0"

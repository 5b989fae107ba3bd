"""What can be wrong with a package, in sentences for the person who makes it or runs it."""

from __future__ import annotations


class PackagingError(Exception):
    """The context cannot be written or built; the message is one line for the terminal."""


class TamperedError(Exception):
    """A file is not the one that was packaged; the message names the first and the number of others."""

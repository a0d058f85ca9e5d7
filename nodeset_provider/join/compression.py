"""gzip as user-data uses it: the same input gives the same bytes, whenever and wherever in one release of Python."""

from __future__ import annotations

import gzip
from typing import Final

WORTH_TRYING: Final = 1024
"""Bytes. Below this a person who reads the user-data gains more from plain text than a cloud from what is saved."""

_LEVEL: Final = 9


def gzipped(content: bytes) -> bytes:
    """``content`` as one gzip member without a time stamp or a name."""
    return gzip.compress(content, _LEVEL, mtime=0)


def gzipped_if_worth(content: bytes, *, plain: int) -> bytes | None:
    """``content`` compressed where that saves a third of the ``plain`` bytes that it takes otherwise, else None.

    What is compressed goes as base64, which makes three bytes four: that is reckoned in.
    """
    if len(content) < WORTH_TRYING:
        return None
    packed = gzipped(content)
    return packed if len(packed) * 4 / 3 < plain * 2 / 3 else None

"""YAML as it leaves us: deterministic, pure ASCII, and read alike by every reader.

PyYAML writes YAML 1.1 and leaves plain what *it* would read as a string; others read more as numbers or booleans
(``y``, ``88e123``, ``0o17``, ``1_000``). So every string that is not plainly a word or a path is quoted here.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_NOT_A_WORD: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})
_UNLIMITED: Final = 2**31 - 1
_BLOCK: Final = re.compile(r"[\x20-\x7e\n]+")
_MIME: Final = re.compile(r"(mime)-(version)", re.IGNORECASE)
"""cloud-init takes user-data for an e-mail wherever it finds ``mime-version:`` in its first 4096 bytes, whatever it
begins with (cloudinit/user_data.py, convert_string): a file or a command with it would make all of the rest unread."""


_Emitter: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's where PyYAML was built with it: rendering in pure Python was the largest single cost of a launch."""


class _Dumper(_Emitter):  # type: ignore[misc]
    """SafeDumper with our quoting, and no anchors: two equal lists are written twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    if _MIME.search(text):
        style = '"'
    elif "\n" in text and _BLOCK.fullmatch(text):
        style = "|"  # PyYAML goes back to quotes by itself where a block could not hold the text
    elif _PLAIN.fullmatch(text) and text.lower() not in _NOT_A_WORD:
        style = ""
    else:
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style or None)


_Dumper.add_representer(str, _string)


def yaml_text(value: Any) -> bytes:  # noqa: ANN401
    """One YAML document of dicts, lists, strings, numbers and booleans; keys in the order they have."""
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=_UNLIMITED)
    # All that matches is within double quotes, where \x2d is a hyphen.
    return _MIME.sub(r"\1\\x2d\2", text).encode("ascii")

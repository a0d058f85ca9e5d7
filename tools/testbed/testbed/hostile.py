"""Texts that readers of configuration trip over: what one of them brings back must be what was written."""

from __future__ import annotations

from typing import Final

HOSTILE: Final = (
    "#cloud-config\nruncmd: [reboot]\n",
    "## template: jinja\n{{ ds.meta_data }}\n",
    "${HOME} $(reboot) `reboot` %h %%",
    "'single' \"double\" \\back\\slash\\n",
    "\n\n leading and trailing \n\n",
    "  indented\n\tand tabbed\n    more\n",
    "a: b\n- c\n? d\n--- \n...\n!!python/object/apply:os.system [reboot]\n",
    "&anchor *alias <<: | > @ ` % ! ~ null",
    "dos\r\nlines\r\n",
    "\x01\x07\x1b[31m\x7f\x80\x85\u2028\u2029\ufeff",
    "é ü 世界 🚀",
    "MIME-Version: 1.0\nContent-Type: multipart/mixed\n",
    "mime-VERSION: 1.0",
    "From here on\nFrom there on\n--boundary--\n",
    '{"ignition": {"version": "9.9.9"}}',
    "data:;base64,AAAA",
    "x" * 5000,
    "many words of few kinds\n" * 200,
    "",
    " ",
    "\n",
    "0644",
    "y",
    "1e3",
    "2026-11-24",
)
"""No NUL is among them: files may hold one, commands and names may not."""

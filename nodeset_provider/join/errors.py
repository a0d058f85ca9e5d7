"""The one error of this package."""

from __future__ import annotations


class InvalidJoin(ValueError):
    """A join configuration that no machine could use.

    ``field`` is the path in the NodeClass (``spec.provisioning.files[2].path``) or in the NodeSet where the value comes
    from it; ``message`` is for people, names the remedy and never holds a secret or the content of a file.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message

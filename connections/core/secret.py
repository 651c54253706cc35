"""The one wrapper a key's plain text lives in outside the Datadog client."""

from typing import Any, NoReturn


class Secret:
    """A key whose plain text shows only through `reveal()`.

    It prints, formats and compares without revealing, and refuses to be copied into a
    pickle, a JSON document or a session.
    """

    __slots__ = ("_plain_text",)

    def __init__(self, plain_text: str) -> None:
        self._plain_text = plain_text

    def reveal(self) -> str:
        """The plain text. Call it only where the key leaves for Datadog or is encrypted."""
        return self._plain_text

    @property
    def last_four(self) -> str:
        """The last four characters, the only part that is ever shown; empty for a short key."""
        return self._plain_text[-4:] if len(self._plain_text) >= 16 else ""

    def __bool__(self) -> bool:
        return bool(self._plain_text)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("A Secret cannot be serialized.")

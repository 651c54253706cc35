"""A wrapper that holds a key's plain text everywhere outside the Datadog client."""

from typing import Any, NoReturn


class Secret:
    """A key whose plain text is available only through `reveal()`.

    Its repr, text and comparison don't reveal it, and it can't be pickled, put into JSON
    or stored in a session.
    """

    __slots__ = ("_plain_text",)

    def __init__(self, plain_text: str) -> None:
        self._plain_text = plain_text

    def reveal(self) -> str:
        """The plain text. Call it only to send the key to Datadog or to encrypt it."""
        return self._plain_text

    @property
    def last_four(self) -> str:
        """The last four characters, the only part ever shown; "" for a key shorter than 16."""
        return self._plain_text[-4:] if len(self._plain_text) >= 16 else ""

    def __bool__(self) -> bool:
        return bool(self._plain_text)

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("A Secret cannot be serialized.")

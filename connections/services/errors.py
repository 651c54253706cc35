"""What an act may answer instead of happening. Every message says what to do."""


class ActError(Exception):
    """The act did not happen; nothing was sent and nothing changed."""


class InvalidInputError(ActError):
    """Something typed cannot be used. `fields` maps a form field to its message."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(" ".join(fields.values()))
        self.fields = fields


class ConflictError(ActError):
    """What the act is about is no longer in a state in which it can happen."""


class UnavailableError(ActError):
    """Datadog cannot even be asked with this credential; `cause` says why. Nothing was sent."""

    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class BlockedError(ConflictError):
    """A deletion that was rightly confirmed may not be sent any more; `cause` says why."""

    def __init__(self, message: str, *, cause: str) -> None:
        super().__init__(message)
        self.cause = cause

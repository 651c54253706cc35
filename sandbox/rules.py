"""To which requests a fault is bound."""

from dataclasses import dataclass

from sandbox.faults import Fault

OPERATIONS = ("validate", "validate_keys", "current_user", "list", "create", "update", "delete")

_DEFAULT_OPERATION = {"GET": "list", "POST": "create", "PATCH": "update", "DELETE": "delete"}


@dataclass(frozen=True, kw_only=True)
class RequestFacts:
    """What is known of a request before it is answered; `operation` is empty off the API."""

    operation: str
    site: str
    org: str | None
    connection_id: str | None


@dataclass(kw_only=True)
class FaultRule:
    """A fault with its binding; None matches anything."""

    fault: Fault
    connection_id: str | None = None
    site: str | None = None
    org: str | None = None
    method: str = "DELETE"
    operation: str | None = None
    left: int | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        if self.operation is None:
            self.operation = _DEFAULT_OPERATION.get(self.method, "")
        if self.operation not in OPERATIONS:
            raise ValueError(f"a fault is bound to one of {', '.join(OPERATIONS)}")

    def matches(self, *, facts: RequestFacts) -> bool:
        """Tell whether the request is one of those to which the fault is bound."""
        return (
            self.operation == facts.operation
            and self.connection_id in (None, facts.connection_id)
            and self.site in (None, facts.site)
            and self.org in (None, facts.org)
        )

    def take(self) -> bool:
        """Count one matching request; False when the fault does not strike this time."""
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.left is None:
            return True
        if self.left <= 0:
            return False
        self.left -= 1
        return True

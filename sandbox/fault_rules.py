"""To which requests a fault is bound."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sandbox.faults import Fault, Wire

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
        if self.left is not None:
            self.left -= 1
        return True


class FaultBook:
    """All bindings, the newest first; safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[FaultRule] = []

    def add(self, *, rule: FaultRule) -> None:
        """Bind a fault; it comes before those bound earlier."""
        with self._lock:
            self._rules.insert(0, rule)

    def clear(self) -> None:
        """Remove every binding."""
        self.restore(rules=())

    def copied(self) -> list[FaultRule]:
        """Give copies with their counters as they stand."""
        with self._lock:
            return [replace(rule) for rule in self._rules]

    def restore(self, *, rules: Iterable[FaultRule]) -> None:
        """Put copies of these bindings in the place of all others."""
        with self._lock:
            self._rules = [replace(rule) for rule in rules]

    def has(self, *, wire: Wire) -> bool:
        """Tell whether any binding's fault travels this way."""
        with self._lock:
            return any(rule.fault.wire is wire for rule in self._rules)

    def take(self, *, facts: RequestFacts, only: Wire | None = None) -> Fault | None:
        """Give the fault for this request and count it as used.

        With `only`, nothing is taken or counted when the fault in turn travels another way.
        """
        with self._lock:
            for rule in self._rules:
                if rule.left == 0 or not rule.matches(facts=facts):
                    continue
                if only is not None and (rule.fault.wire is not only or rule.skip):
                    return None
                if rule.take():
                    return rule.fault
        return None

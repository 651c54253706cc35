"""Rules that say which requests a fault applies to."""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sandbox.faults import Fault, Transmission

OPERATIONS = (
    "validate",
    "validate_keys",
    "current_user",
    "managed_orgs",
    "list",
    "create",
    "update",
    "delete",
)

_DEFAULT_OPERATION = {"GET": "list", "POST": "create", "PATCH": "update", "DELETE": "delete"}


@dataclass(frozen=True, kw_only=True)
class RequestAttributes:
    """What rules compare. `operation` is empty if the API has no such operation."""

    operation: str
    site: str
    org: str | None
    connection_id: str | None
    # Of a POST.
    sink_org: str | None


@dataclass(kw_only=True)
class FaultRule:
    """A fault and the requests it applies to. None matches any value.

    The first `skip` matching requests are left alone, then the fault applies to `remaining` ones.
    """

    fault: Fault
    connection_id: str | None = None
    site: str | None = None
    org: str | None = None
    sink_org: str | None = None
    method: str = "DELETE"
    operation: str | None = None
    remaining: int | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        if self.operation is None:
            self.operation = _DEFAULT_OPERATION.get(self.method, "")
        if self.operation not in OPERATIONS:
            raise ValueError(f"the operation of a fault is one of {', '.join(OPERATIONS)}")

    def matches(self, attributes: RequestAttributes) -> bool:
        """Return whether the rule is about this request."""
        return (
            self.operation == attributes.operation
            and self.connection_id in (None, attributes.connection_id)
            and self.site in (None, attributes.site)
            and self.org in (None, attributes.org)
            and self.sink_org in (None, attributes.sink_org)
        )

    def count_match(self) -> bool:
        """Count one matching request and return whether the fault applies to it."""
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.remaining is not None:
            self.remaining -= 1
        return True


class FaultRules:
    """All rules, newest first. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[FaultRule] = []

    def add(self, rule: FaultRule) -> None:
        """Add a rule, which takes precedence over those added earlier."""
        with self._lock:
            self._rules.insert(0, rule)

    def clear(self) -> None:
        """Remove every rule."""
        self.replace_all(())

    def copies(self) -> list[FaultRule]:
        """Return copies of the rules with their current counters."""
        with self._lock:
            return [replace(rule) for rule in self._rules]

    def replace_all(self, rules: Iterable[FaultRule]) -> None:
        """Replace all rules with copies of these."""
        with self._lock:
            self._rules = [replace(rule) for rule in rules]

    def has(self, transmission: Transmission) -> bool:
        """Return whether any rule's fault is transmitted this way."""
        with self._lock:
            return any(rule.fault.transmission is transmission for rule in self._rules)

    def take(
        self, attributes: RequestAttributes, *, only: Transmission | None = None
    ) -> Fault | None:
        """Return the fault for this request, and count it.

        With `only`, if the fault that applies is transmitted differently, count nothing and return
        None.
        """
        with self._lock:
            for rule in self._rules:
                if rule.remaining == 0 or not rule.matches(attributes):
                    continue
                if only is not None and (rule.fault.transmission is not only or rule.skip):
                    return None
                if rule.count_match():
                    return rule.fault
        return None

"""Checks that a transaction locks nothing after the audit head, which could cause a deadlock.

On PostgreSQL an action locks its own rows first and the audit head last, with its event. A later
statement that locks anything else could wait for a row that a second action holds while that action
waits for the head. SQLite has a single lock, but its statements show the order too.

Nor does it lock a row against rows that only refer to it, or a row that it joins without naming it.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection

_HEAD = re.compile(r"\s*SELECT .*FROM \"?connections_audithead\b", re.DOTALL)
# Rows are only added to the outbox, and its foreign keys to people never wait for a lock.
_AUDIT_TABLES = re.compile(
    r"\b(?:(?:INTO|UPDATE|FROM)\s+\"?connections_(?:audit|personalvalue|checkpoint)"
    r"|INTO\s+\"?connections_notification\b)"
)
# Nothing refers to the head or to an authenticator.
_TOO_MUCH = re.compile(
    r"(?!.*FROM \"(?:connections_audithead|mfa_authenticator)\").*\bFOR UPDATE\b"
    r"|.* JOIN .*\bFOR NO KEY UPDATE\s*$",
    re.DOTALL,
)
_LOCKS = re.compile(r"\s*(?:INSERT|UPDATE|DELETE)\b|.*\bFOR (?:NO KEY )?UPDATE\b", re.DOTALL)


class LockOrder:
    """A database wrapper that records what a transaction locked after the head, or needlessly."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self._holder: Any = None

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        blocks: list[Any] = connection.atomic_blocks
        outermost = next((block for block in blocks if not block._from_testcase), None)
        if outermost is None or outermost is not self._holder:
            self._holder = None
        # The first condition is quick, and false for nearly all statements.
        if "connections_audithead" in sql and outermost is not None and _HEAD.match(sql):
            self._holder = outermost
        elif self._holder and _LOCKS.match(sql) and not _AUDIT_TABLES.search(sql):
            self.wrong.append(sql[:200])
        if " UPDATE" in sql and _TOO_MUCH.match(sql):
            self.wrong.append(sql[-200:])
        return execute(sql, params, many, context)


@pytest.fixture(autouse=True)
def _lock_order() -> Iterator[None]:
    order = LockOrder()
    with connection.execute_wrapper(order):
        yield
    assert order.wrong == [], "locked after the end of the record, or more than has to be"

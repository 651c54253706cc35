"""Lets many requests use one set of stored objects without seeing each other's changes."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction


@contextmanager
def undone() -> Iterator[None]:
    """Roll back what the block writes, in the transaction of the test."""
    block = transaction.atomic()
    # With this attribute, Django allows a durable transaction inside it, as in the test's own
    # transaction.
    block._from_testcase = True  # type: ignore[attr-defined]
    with block:
        yield
        transaction.set_rollback(True)

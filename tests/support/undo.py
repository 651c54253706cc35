"""Many requests on one set of stored objects, none of which sees what another one wrote."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction


@contextmanager
def undone() -> Iterator[None]:
    """Roll back what the block writes, in the transaction of the test."""
    block = transaction.atomic()
    # Django then allows a durable transaction inside it, as in the test's own transaction.
    block._from_testcase = True  # type: ignore[attr-defined]
    with block:
        yield
        transaction.set_rollback(True)

"""Lets one statement of a block fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection


class FailingStatement:
    """A wrapper of statements that calls `fail` at the one with this number, from 1."""

    def __init__(
        self, number: int, *, fail: Callable[[], object], starts: Callable[[], bool]
    ) -> None:
        self._left = number
        self._fail = fail
        self._starts = starts

    def __call__(self, execute: Callable[..., Any], *arguments: Any) -> Any:
        if self._starts():
            self._left -= 1
            if self._left == 0:
                self._fail()
        return execute(*arguments)

    @property
    def has_failed(self) -> bool:
        """Whether the block had that many statements."""
        return self._left <= 0


@contextmanager
def failing_statement(
    number: int, *, fail: Callable[[], object], starts: Callable[[], bool] = lambda: True
) -> Iterator[FailingStatement]:
    """Call `fail` at this statement, counted from 1 as soon as `starts` is true."""
    wrapper = FailingStatement(number, fail=fail, starts=starts)
    with connection.execute_wrapper(wrapper):
        yield wrapper


def raise_error(kind: type[Exception]) -> None:
    """Raise an error of this kind."""
    raise kind("the connection is closed")


def driver_error() -> type[Exception]:
    """The driver's own error, as it is raised where Django doesn't translate it."""
    error: type[Exception] = connection.Database.OperationalError  # type: ignore[attr-defined]
    return error

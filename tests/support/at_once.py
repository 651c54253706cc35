"""Runs actions at the same time."""

import threading
from collections.abc import Callable

from django.db import connection


def at_once(actions: list[Callable[[], object]]) -> None:
    """Run each in its own thread, with its own database connection."""
    barrier = threading.Barrier(len(actions))
    problems: list[Exception] = []

    def run(action: Callable[[], object]) -> None:
        try:
            barrier.wait(timeout=10)
            action()
        except Exception as error:  # noqa: BLE001 - reported in the test's own thread
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert problems == []

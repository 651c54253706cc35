"""Runs actions at the same time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from connections.core.errors import DomainError


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


def run_concurrently(*actions: Callable[[], object]) -> list[str]:
    """Run all actions concurrently in threads; "done" or, for a DomainError, "refused" for each."""
    start = threading.Barrier(len(actions))

    def run(action: Callable[[], object]) -> str:
        start.wait(timeout=10)
        try:
            action()
        except DomainError:
            return "refused"
        finally:
            connection.close()
        return "done"

    with ThreadPoolExecutor(len(actions)) as pool:
        return sorted(pool.map(run, actions))

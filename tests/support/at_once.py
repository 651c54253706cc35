"""Runs actions at the same time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connection

from connections.core.errors import DomainError


def at_once(actions: list[Callable[[], object]], *, seconds: float = 30) -> None:
    """Run each action in its own thread, with its own database connection, for so long at most."""
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
        thread.join(timeout=seconds)
    assert not problems, problems


def start_until_it_waits(action: Callable[[], object]) -> threading.Thread:
    """Start the action in a thread, with its own connection to PostgreSQL.

    Return when it has ended or waits for a lock.
    """

    def run() -> None:
        try:
            action()
        except DomainError:
            pass
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive() and not _is_someone_waiting():
        thread.join(timeout=0.01)
    return thread


def _is_someone_waiting() -> bool:
    with connection.cursor() as cursor:
        # Otherwise PostgreSQL would read the list of sessions only once per transaction.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE NOT granted AND datname = current_database())"
        )
        return bool(cursor.fetchone()[0])


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

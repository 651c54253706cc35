"""Run a worker: send waiting deletions, check unknown ones, verify, sync and notify."""

import logging
import signal
from argparse import ArgumentParser
from types import FrameType
from typing import Any

# Loaded now because `./run install` can replace packages while the worker runs.
import connections.net.connection  # noqa: F401
from connections.change_requests import guards
from connections.core import clock
from connections.core.database import require_sqlite_database
from connections.core.errors import STOP_SIGNALS
from connections.core.text import format_limit, format_time, pluralize
from connections.crypto.encryption import check_key_ring
from connections.management.base import FAILED, OrgAdminCommand, Result
from connections.models import Notification
from connections.notifications import delivery
from connections.operations import heartbeats
from connections.operations import worker as operations_worker
from connections.operations.schema import require_usable_schema
from connections.operations.secret_files import log_exposed_files
from connections.operations.supervisor import end_with_parent
from connections.operations.worker import Worker

logger = logging.getLogger(__name__)


class Command(OrgAdminCommand):
    """Runs the worker's loop. Any number can run, on any number of machines."""

    help = "Run a worker until SIGTERM or SIGINT."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="Do what is due now, then exit.")
        parser.add_argument(
            "--check",
            action="store_true",
            help="Exit with 0 if a worker of this host was seen within "
            f"{format_limit(heartbeats.ALIVE_WITHIN)}, otherwise with 1.",
        )
        parser.add_argument(
            "--end-with-parent", type=int, metavar="PID", help="Exit when this process ends."
        )

    def run(self, **options: Any) -> Result | None:
        return _check_this_host() if options["check"] else self._work(**options)

    def _work(self, **options: Any) -> Result | None:
        worker = Worker()

        def stop(number: int, frame: FrameType | None) -> None:
            worker.stop()

        for number in STOP_SIGNALS:
            signal.signal(number, stop)
        if options["end_with_parent"]:
            end_with_parent(options["end_with_parent"])
        if options["once"]:
            _check_database()
            guards.require_right_clock()
            count = worker.run_once()
            notified = sum(delivery.run_due(channel=channel) for channel in Notification.Channel)
            return Result(
                {"deletions": count, "notices": notified},
                f"Processed {pluralize(count, 'deletion')} and "
                f"{pluralize(notified, 'notification')}.",
            )
        if not options["end_with_parent"]:
            # `serve` has done it for its own worker.
            log_exposed_files()
        # Instead of `needs_keys`, because this waits for an unavailable database.
        worker.wait_for_database(_check_database)
        logger.info("Worker started.")
        deliver = operations_worker.run_delivery_threads
        with deliver() as wake_delivery, worker.run_sending_thread():
            worker.run(wake_delivery=wake_delivery)
        logger.info("Worker stopped.")
        return None


def _check_this_host() -> Result:
    host, limit = heartbeats.this_host(), format_limit(heartbeats.ALIVE_WITHIN)
    seen_at = heartbeats.last_seen_at(host=host)
    is_alive = heartbeats.is_alive(seen_at, now=clock.now())
    last_seen = f"last seen {format_time(seen_at)}" if seen_at else "none is recorded"
    return Result(
        {"host": host, "is_alive": is_alive, "seen_at": seen_at},
        f"A worker is running on {host} ({last_seen})."
        if is_alive
        else f"No worker of {host} was seen within {limit} ({last_seen}).",
        exit_code=0 if is_alive else FAILED,
    )


def _check_database() -> None:
    require_sqlite_database()
    require_usable_schema()
    check_key_ring()

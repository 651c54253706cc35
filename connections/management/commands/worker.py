"""Run a worker: send waiting deletions, check unknown ones, verify, sync and notify."""

import logging
import signal
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from connections.management.base import OrgAdminCommand
from connections.models import Notification
from connections.notifications import delivery
from connections.operations import worker as operations_worker
from connections.operations.supervisor import end_with_parent
from connections.operations.worker import Worker
from connections.wording import pluralize

logger = logging.getLogger(__name__)


class Command(OrgAdminCommand):
    """Runs the worker's loop; any number can run, on any number of machines."""

    help = "Work until SIGTERM or SIGINT; with --once, do what is due now and end."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--once", action="store_true", help="One pass, then end.")
        parser.add_argument(
            "--end-with-parent", type=int, metavar="PID", help="End when that process has ended."
        )

    def run(self, **options: Any) -> None:
        worker = Worker()

        def stop(number: int, frame: FrameType | None) -> None:
            worker.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        if options["end_with_parent"]:
            end_with_parent(options["end_with_parent"])
        if options["once"]:
            self.check_keys()
            count = worker.work_once()
            notified = sum(delivery.run_due(channel=channel) for channel in Notification.Channel)
            self.emit(
                {"deletions": count, "notices": notified},
                f"Worked on {pluralize(count, 'deletion')} and {pluralize(notified, 'notice')}.",
            )
            return
        # Not by `needs_keys`, because it waits for an unavailable database.
        worker.wait_for_database(self.check_keys)
        logger.info("The worker has started.")
        with operations_worker.delivery_threads_running():
            worker.run()
        logger.info("The worker has ended.")

"""The threads of a worker that deliver notices: one for each channel, so that a slow mail server
holds up no webhook, and neither of them a deletion."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection

from connections.models import Notification
from connections.notifications import delivery

logger = logging.getLogger(__name__)

# Between two looks (s); after an error twice as long each time, up to the longest.
LOOK_EVERY = 2.0
LONGEST_PAUSE = 60.0
# For a sending that is on its way when the worker ends (s); it is tried again elsewhere.
ENDING = 15.0


class DeliveryThread(threading.Thread):
    """Delivers by one channel until stopped. An error is logged and does not end it."""

    def __init__(self, channel: Notification.Channel) -> None:
        super().__init__(name=f"courier-{channel}", daemon=True)
        self._channel = channel
        self._is_stopped = threading.Event()

    def stop(self) -> None:
        """End after the sending that is on its way."""
        self._is_stopped.set()

    def run(self) -> None:
        pause = LOOK_EVERY
        while not self._is_stopped.wait(pause):
            try:
                close_old_connections()
                delivery.run_due(channel=self._channel, is_over=self._is_stopped.is_set)
                pause = LOOK_EVERY
            except DatabaseError:
                pause = min(pause * 2, LONGEST_PAUSE)
                logger.warning("The database did not answer a courier.", exc_info=True)
                connection.close()
            except Exception:
                pause = min(pause * 2, LONGEST_PAUSE)
                # Whatever it is: one notice must not keep the others waiting.
                logger.exception("A courier failed and goes on in %d s.", pause)
                connection.close()
        connection.close()


@contextmanager
def delivery_threads_running() -> Iterator[None]:
    """Couriers for every channel, from here to the end of the block."""
    couriers = [DeliveryThread(channel) for channel in Notification.Channel]
    for courier in couriers:
        courier.start()
    try:
        yield
    finally:
        for courier in couriers:
            courier.stop()
        for courier in couriers:
            courier.join(timeout=ENDING)

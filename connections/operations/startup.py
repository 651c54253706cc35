"""Waiting for the database when the service starts."""

import logging
import time
from collections.abc import Callable

from django.db import Error as DatabaseError
from django.db import connection

from connections.core.database import require_sqlite_database

logger = logging.getLogger(__name__)

# Seconds to wait after an error. Doubles each time.
FIRST_PAUSE = 1.0
# Well under the 60 s after which a claim expires, because a response might be waiting for the
# database to come back.
MAX_PAUSE = 15.0


def wait_for_database(
    check: Callable[[], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
    is_stopped: Callable[[], bool] = lambda: False,
) -> None:
    """Call `check` until the database is available, or until stopped.

    Web servers and workers that start while the database is down then start once it is back.
    Raises MissingDatabaseError, and what `check` raises except DatabaseError.
    """
    pause = FIRST_PAUSE
    while not is_stopped():
        try:
            check()
        except DatabaseError as error:
            require_sqlite_database()
            reason = " ".join(str(error).split())
            logger.warning("The database is not available. Next attempt in %d s. %s", pause, reason)
            connection.close()
            sleep(pause)
            pause = min(pause * 2, MAX_PAUSE)
        else:
            return

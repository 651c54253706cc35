"""Whether the record holds times in the future: the clock was wrong then, or is wrong now."""

from datetime import datetime

from django.db.models import Max

from connections.core import clock
from connections.models import AuditEvent


def find_time_ahead(*, now: datetime) -> datetime | None:
    """The newest recorded time if it lies in the future by the database's clock, else None.

    One read off an index. Raises what the database raises.
    """
    newest: datetime | None = AuditEvent.objects.aggregate(at=Max("at"))["at"]
    return newest if newest and clock.is_ahead(newest, now=now) else None

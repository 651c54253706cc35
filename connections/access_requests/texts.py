"""What the pages of each kind of access request say."""

from typing import NamedTuple

from connections.models import RequestKind


class KindText(NamedTuple):
    """What is done to the pair, which follows, and the button that confirms it."""

    title: str
    button: str
    # What the button says while the request runs.
    busy: str
    # Its color: a move starts as a deletion.
    tone: str = "accent"


KIND_TEXTS = {
    RequestKind.CREATE: KindText("Connect", "Create connection", "Creating…"),
    RequestKind.CHANGE: KindText("Change data types of", "Change data types", "Changing…"),
    RequestKind.EXTEND: KindText("Extend", "Extend access", "Extending…"),
    RequestKind.RESTORE: KindText("Restore", "Restore connection", "Restoring…"),
    RequestKind.MOVE: KindText("Move", "Move connection", "Moving…", "danger"),
}

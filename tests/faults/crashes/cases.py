"""The cases of the crash matrix, and what must hold for each of them afterwards."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypedDict

from connections.change_requests.failpoints import Point
from sandbox import faults
from sandbox.faults import Fault
from sandbox.request_log import ReceivedRequest
from sandbox.world import World
from tests.faults.crashes.plan import WHILE_SENDING
from tests.support.sweeps import TAKES_ALL

# How long after our timeout Datadog executes a late request.
LATE_SECONDS = 3.0
# How long a response is delayed at most until the process is killed.
HELD_SECONDS = 10.0

POINTS = (
    Point.BEFORE_CLAIM,
    Point.INSIDE_CLAIM,
    Point.AFTER_CLAIM,
    WHILE_SENDING,
    Point.AFTER_RESPONSE,
    Point.INSIDE_RESULT,
    Point.AFTER_RESULT,
)
LATE = "deletes 3 s after our timeout"
DATADOG: dict[str, Fault] = {
    "deletes and responds": faults.delayed(seconds=0.0),
    "deletes and resets the connection": faults.EXECUTES_THEN_RESET,
    "refuses (403)": faults.RETURNS_403,
    "never receives": faults.RESET_BEFORE_READING,
    LATE: faults.executes_late(seconds=1.0 + LATE_SECONDS),
    "responds with 404": faults.RETURNS_404,
}
EVERY_PAIR = tuple((point, datadog) for point in POINTS for datadog in DATADOG)
# If the web server is killed before the request is sent, Datadog's behavior does not matter, and
# nothing sends the request later: one case for each of these points.
UNSENT_POINTS = (Point.BEFORE_CLAIM, Point.INSIDE_CLAIM, Point.AFTER_CLAIM)
ALL_WEB_PAIRS = tuple(
    (point, datadog)
    for point, datadog in EVERY_PAIR
    if point not in UNSENT_POINTS or datadog == "deletes and responds"
)


def _sample_of(pairs: tuple[tuple[str, str], ...], *, every: int) -> tuple[tuple[str, str], ...]:
    """Some of the pairs, with every point and, in a third of them, every behavior of Datadog."""
    behaviors = [*DATADOG]
    return tuple(
        (point, datadog)
        for point, datadog in pairs
        if TAKES_ALL or (POINTS.index(point) + behaviors.index(datadog)) % every == 0
    )


WORKER_PAIRS = _sample_of(EVERY_PAIR, every=3)
# What is recorded doesn't depend on which process was killed, so fewer are enough.
WEB_PAIRS = tuple(
    pair
    for pair in ALL_WEB_PAIRS
    if pair[0] in UNSENT_POINTS or pair in _sample_of(ALL_WEB_PAIRS, every=6)
)
# Where the process dies makes no difference between methods, so of a POST and a PATCH only what
# their page does before the attempt, and what becomes of an attempt.
_ACCESS_POINTS = (Point.BEFORE_CLAIM, Point.AFTER_CLAIM, WHILE_SENDING, Point.AFTER_RESPONSE)
# Of a move, where a worker has to go on with it: while the page sends one step, and between both.
_MOVE_POINTS = {"DELETE of a move": (WHILE_SENDING,), "POST of a move": (Point.BEFORE_CLAIM,)}
_POINTS_OF = {"POST": _ACCESS_POINTS, "PATCH": _ACCESS_POINTS, **_MOVE_POINTS}
WEB_PAIRS_OF = {
    "DELETE": WEB_PAIRS,
    **{
        method: tuple(
            pair
            for pair in ALL_WEB_PAIRS
            if TAKES_ALL or (pair[0] in points and pair[1] == "deletes and responds")
        )
        for method, points in _POINTS_OF.items()
    },
}
# The outcomes that say that it was done.
DONE = {
    "DELETE": {"deleted", "gone_unattributed"},
    "POST": {"created"},
    "PATCH": {"changed"},
    # A DELETE whose effect is found long afterwards is followed by no POST.
    "DELETE of a move": {"created", "gone"},
    "POST of a move": {"created"},
}


class _Named(TypedDict, total=False):
    connection_id: str
    sink_org: str


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request: where its process is killed, and what Datadog does with it.

    `target` is the connection's ID or, for a POST, that of the destination org.
    """

    method: str = "DELETE"
    target: str
    point: str
    datadog: str

    @property
    def fault(self) -> Fault:
        """What Datadog does; delayed if the process is killed while sending."""
        fault = DATADOG[self.datadog]
        return replace(fault, delay=HELD_SECONDS) if self.point == WHILE_SENDING else fault

    def set_fault(self, world: World) -> None:
        """Let Datadog respond to its request like this."""
        world.set_fault(fault=self.fault, method=self.method.split()[0], **self._named())

    def received(self, world: World) -> list[ReceivedRequest]:
        """The requests that Datadog received."""
        return world.requests(method=self.method.split()[0], **self._named())

    def _named(self) -> _Named:
        """What the request names."""
        if self.method.startswith("POST"):
            return {"sink_org": self.target}
        return {"connection_id": self.target}


def all_cases(
    targets: list[str], pairs: tuple[tuple[str, str], ...], *, method: str = "DELETE"
) -> list[Case]:
    """One case with its own connection for each pair of a point and a Datadog behavior."""
    return [
        Case(method=method, target=target, point=point, datadog=datadog)
        for target, (point, datadog) in zip(targets, pairs, strict=True)
    ]


def violations(case: Case, *, row: dict[str, Any], world: World) -> list[str]:
    """What is wrong with one request after the restart and reconciliation."""
    received = case.received(world)
    was_done = any(request.executed for request in received)
    claimed_at = [datetime.fromisoformat(attempt["claimed_at"]) for attempt in row["attempts"]]
    # After a 404, somebody else deleted what was to be moved.
    was_recorded = row["outcome"] in DONE[case.method] and row["cause"] != "not_found"
    deletes, posts = (
        [each for each in world.requests(method=method, **named) if each.executed]
        for method, named in (
            ("DELETE", {"connection_id": row["moved_from"]}),
            ("POST", {"sink_org": row["sink_org"]}),
        )
    )
    wrong = {
        "sent twice": len(received) > 1,
        "sent without an attempt": any(
            not any(at <= request.received_at for at in claimed_at) for request in received
        ),
        "attempt without its event": len(claimed_at) != row["sendings_recorded"],
        "done but not recorded": was_done and not was_recorded,
        "recorded but not done": not was_done and was_recorded,
        "moved with other than one DELETE and then one POST": bool(row["moved_from"])
        and (len(deletes) > 1 or len(posts) > 1 or (bool(posts) and not deletes)),
        "access gone without an alarm": bool(row["moved_from"])
        and (bool(deletes) and not posts)
        and not row["alarms"],
        "verified but not done": not was_done and row["verified"],
        "still open": row["state"] in {"sending", "waiting", "unknown"},
    }
    where = f"{case.point} × {case.datadog}: {row['state']} {row['outcome']} {row['cause']}"
    return [f"{what} ({where})" for what, is_so in wrong.items() if is_so]

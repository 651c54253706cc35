"""Shortens the product's deadlines and sends this process the plan's signals."""

import os
import signal
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import requests
from django.apps import AppConfig
from django.db import transaction

from connections.change_requests import failpoints
from tests.faults.crashes.cases import HELD_SECONDS
from tests.faults.crashes.plan import WHILE_SENDING, Plan, read_plan


class CrashesConfig(AppConfig):
    """Installed by tests/faults/settings.py alone."""

    name = "tests.faults.crashes"

    def ready(self) -> None:
        plan = read_plan()
        _shorten_deadlines(plan)
        failpoints.hit = _SignalSender(plan).hit
        if plan.signal_event:
            _signal_at_event(plan)
        if plan.signal_at_start:
            os.kill(os.getpid(), signal.Signals[plan.signal_at_start])


def _shorten_deadlines(plan: Plan) -> None:
    from connections.access_requests import requesting
    from connections.core import time_limits
    from connections.operations import startup, worker

    # The whole matrix leaves more open requests of one person than people can have.
    requesting.MAX_OPEN = 1_000
    _limit_sending(Plan(marks=""))
    time_limits.SEND_SECONDS = plan.delete_seconds
    time_limits.CLAIM_TIMEOUT = timedelta(seconds=plan.claim_seconds)
    time_limits.FIRST_CHECK_DELAY = timedelta(seconds=plan.first_check_seconds)
    time_limits.SECOND_CHECK_DELAY = timedelta(seconds=plan.second_check_seconds)
    time_limits.NOT_SENT_DELAYS = (1, 1, 1, 1)
    time_limits.VERIFICATION_AT = tuple(timedelta(seconds=seconds) for seconds in (1, 2, 3, 5, 8))
    time_limits.CONTRADICTED_AFTER = timedelta(seconds=2)
    worker.MIN_SLEEP, worker.MAX_SLEEP = 0.1, 0.3
    startup.FIRST_PAUSE, startup.MAX_PAUSE = 0.2, 1.0


def _limit_sending(plan: Plan) -> None:
    from connections.core import time_limits

    time_limits.LIST_WINDOW = timedelta(seconds=plan.list_seconds)
    time_limits.FIRST_BYTE_SECONDS = plan.first_byte_seconds


def _signal_at_event(plan: Plan) -> None:
    from connections import audit

    record = audit.record

    def send() -> None:
        os.kill(os.getpid(), signal.Signals[plan.signal])

    def record_and_signal(**values: Any) -> None:
        record(**values)
        if values["code"] == plan.signal_event:
            transaction.on_commit(send) if plan.signal_after_commit else send()

    audit.record = record_and_signal


class _SignalSender:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def hit(self, point: failpoints.Point, *, change_request_id: UUID) -> None:
        """Send this process the signal if the plan names this point for this request."""
        from connections.core import time_limits

        if not self._plan.signal_points:
            return
        target = _target_of(change_request_id, at=point)
        wanted = self._plan.signal_points.get(target)
        if point == failpoints.Point.BEFORE_CLAIM and wanted:
            _limit_sending(Plan(marks="") if self._plan.was_signaled(target) else self._plan)
        if wanted == point and self._is_first(target):
            os.kill(os.getpid(), signal.Signals[self._plan.signal])
        in_flight = wanted == WHILE_SENDING and point == failpoints.Point.AFTER_CLAIM
        if in_flight and self._is_first(target):
            # However slow the machine is, it is killed before it stops waiting for the response.
            time_limits.SEND_SECONDS = HELD_SECONDS
            threading.Thread(target=self._kill_in_flight, args=(target,)).start()

    def _is_first(self, target: str) -> bool:
        try:
            (Path(self._plan.marks) / target).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _kill_in_flight(self, target: str) -> None:
        while not self._was_received(target):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    def _was_received(self, target: str) -> bool:
        address = f"{self._plan.datadog}/__sandbox__/requests"
        received = requests.get(address, timeout=5).json()["requests"]
        return any(
            request["method"] != "GET" and target in {request["connection_id"], request["sink_org"]}
            for request in received
        )


def _target_of(change_request_id: UUID, *, at: failpoints.Point) -> str:
    """What the plan calls a request: its connection or, for a POST, its destination org."""
    from connections.change_requests.actions import action_of
    from connections.models import AccessRequest, Deletion

    found = AccessRequest.objects.filter(pk=change_request_id).first()
    if found is None:
        return str(Deletion.objects.get(pk=change_request_id).connection_id)
    sent = found.attempts.last()
    if sent is None or at == failpoints.Point.BEFORE_CLAIM:
        method = action_of(found).method
    else:
        method = sent.method
    if method == "POST":
        return found.sink_org_id
    return str(found.moved_from or found.connection_id)

"""Check deletions and access requests whose outcome is unknown or not verified."""

from datetime import datetime
from typing import Any

from connections.access.actor import command_actor
from connections.access_requests.listing import as_listed, document_of
from connections.change_requests import saved_responses
from connections.core import clock
from connections.deletions.export import deletion_row
from connections.deletions.status import status_at
from connections.deletions.texts import describe
from connections.management.base import UNKNOWN, OrgAdminCommand, Result
from connections.models import AccessRequest, Deletion, State
from connections.operations import due


class Command(OrgAdminCommand):
    """Checks each once. Changes nothing at Datadog and never sleeps."""

    help = (
        "Sync once for every deletion and access request that is unknown, had no effect or isn't "
        "verified, and record what that shows. Changes nothing at Datadog. Exit code 6 while an "
        "outcome is unknown."
    )
    needs_keys = True

    def run(self, **options: Any) -> Result:
        actor = command_actor()
        saved_responses.record_saved_responses()
        checked = [change_request.pk for change_request in due.reconcile_all(actor=actor)]
        deletions = Deletion.objects.filter(pk__in=checked)
        deletions = deletions.prefetch_related("attempts", "approvals")
        access_requests = as_listed(AccessRequest.objects.filter(pk__in=checked), actor=actor)
        unknown = sum(
            kind._default_manager.filter(state__in=[State.UNKNOWN, State.SENDING]).count()
            for kind in due.KINDS
        )
        document = {
            "deletions": [
                deletion_row(deletion) | {"url": f"/deletions/{deletion.pk}/"}
                for deletion in deletions
            ],
            "access_requests": [document_of(listed) for listed in access_requests],
            "unknown": unknown,
        }
        now = clock.now()
        lines = [_line(deletion, now=now) for deletion in deletions]
        lines += [
            f"{listed.request.pk}  {listed.request.progress}  {listed.request.pair}"
            for listed in access_requests
        ]
        exit_code = UNKNOWN if unknown else 0
        return Result(document, *lines, f"Unknown: {unknown}.", exit_code=exit_code)


def _line(deletion: Deletion, *, now: datetime) -> str:
    status = status_at(deletion, now=now)
    text = describe(deletion, status=status)
    return f"{deletion.pk}  {text.label}  {text.sentences}"

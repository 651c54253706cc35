"""A pair of orgs never has an open access request and an open deletion of its connection.

Whatever opens one of them first locks the source org, and then looks for the other.
"""

from collections.abc import Collection, Iterable, Sequence

from connections import audit
from connections.access.actor import Actor
from connections.agreements.agreed import of_these_pairs
from connections.change_requests import states
from connections.change_requests.states import Settle
from connections.core.causes import Cause, cause_text
from connections.core.errors import ConflictError
from connections.models import AccessRequest, CommonOutcome, Deletion, Org, OrgPair, Step


def pairs_of(deletions: Iterable[Deletion]) -> list[OrgPair]:
    """The pairs of these deletions. One whose orgs are unknown has none."""
    return [
        OrgPair(deletion.site, deletion.source_org_id, deletion.sink_org_id)
        for deletion in deletions
        if deletion.source_org_id and deletion.sink_org_id
    ]


def lock_source_orgs(pairs: Collection[OrgPair]) -> None:
    """Lock what opening a deletion or an access request of these pairs locks first."""
    # In a fixed order, so that two processes don't wait for each other.
    rows = Org.objects.filter(
        site__in={pair.site for pair in pairs}, org_id__in={pair.source_org_id for pair in pairs}
    ).order_by("pk")
    list(rows.select_for_update(no_key=True).values_list("pk"))


def lock_open_access_requests(pairs: Collection[OrgPair]) -> list[AccessRequest]:
    """Lock these orgs and their open access requests, of which nothing has been sent.

    Call it in the transaction that opens deletions of these pairs, which then settles them. Raises
    ConflictError if one of them has sent something.
    """
    if not pairs:
        return []
    lock_source_orgs(pairs)
    rows = AccessRequest.objects.filter(of_these_pairs(pairs), settled_at=None).order_by("pk")
    # Locked so that none can be claimed now. A claim is the only thing that increases the epoch.
    access_requests = list(rows.select_for_update(no_key=True))
    sent = next((each for each in access_requests if each.epoch), None)
    if sent:
        raise ConflictError(
            f"An access request for {sent.pair} was sent to Datadog and is still open. Nothing was "
            "requested. Wait until it is closed."
        )
    return access_requests


def settle_as_stale(access_requests: Sequence[AccessRequest], *, actor: Actor) -> None:
    """Settle these locked access requests, because their connections are about to be deleted."""
    states.apply_to_all(
        access_requests,
        transition=Settle(outcome=CommonOutcome.STALE, cause=Cause.DELETION_REQUESTED),
        actor=actor,
        events_of=lambda access_request: [
            audit.EventDraft(
                code=access_request.event_code(Step.SETTLED),
                sentence=audit.Sentence(
                    "The {title} {connection} is closed. {why} Nothing was sent.",
                    title=access_request.title,
                    connection=access_request.description,
                    why=cause_text(Cause.DELETION_REQUESTED),
                ),
            )
        ],
    )

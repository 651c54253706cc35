"""Who can approve a request, and whether they are enough for an approval policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet

from connections.access import permissions, visibility
from connections.access.policies import strictest_policy
from connections.core.text import format_limit, pluralize
from connections.core.time_limits import APPROVAL_WINDOW
from connections.models import (
    AccessRequest,
    ApprovalPolicy,
    Batch,
    ChangeRequest,
    Credential,
    CredentialAccess,
    OrgPair,
    Person,
)


def people_who_can_approve(*, change_request: ChangeRequest) -> QuerySet[Person]:
    """The people who can see and approve this request, whether or not they have decided already."""
    if isinstance(change_request, AccessRequest):
        return people_who_can_approve_access(
            pair=OrgPair(
                change_request.site, change_request.source_org_id, change_request.sink_org_id
            ),
            credential_id=change_request.credential_id,
            excluded=change_request.requested_by_id,
        )
    return permissions.people_who_can_approve_with(
        credential_id=change_request.credential_id, excluded=change_request.requested_by_id
    )


def people_who_can_approve_access(
    *, pair: OrgPair, credential_id: UUID, excluded: UUID | None
) -> QuerySet[Person]:
    """The people who could see and approve access of this pair, except the requester `excluded`.

    A person who doesn't know the destination org can't see the request.
    """
    people = permissions.people_who_can_approve_with(credential_id=credential_id, excluded=excluded)
    return visibility.people_who_know_org(people, site=pair.site, org_id=pair.sink_org_id)


def missing_approvers_warning(
    *, credential: Credential, policy: ApprovalPolicy, requester: Person | None
) -> str | None:
    """A warning that too few others can approve this person's request; None when enough can."""
    excluded = requester.pk if requester else None
    others = permissions.people_who_can_approve_with(credential_id=credential.pk, excluded=excluded)
    return shortage_warning(policy, available=others)


def missing_batch_approvers_warning(*, batch: Batch) -> str | None:
    """A warning that too few others can approve every row; None when enough can."""
    available = permissions.people_who_can_approve_batch(batch=batch)
    return shortage_warning(ApprovalPolicy(batch.policy), available=available)


def shortage_warning(policy: ApprovalPolicy, *, available: QuerySet[Person]) -> str | None:
    """A warning that too few others are available to approve a request; None when enough are."""
    needed = policy.approvals_needed
    if not needed:
        return None
    count = available.count()
    if count >= needed:
        return None
    limit = format_limit(APPROVAL_WINDOW)
    if count:
        return (
            "Only 1 other person can approve this request, and it needs 2 approvals. It would "
            f"expire after {limit}. Ask an administrator to add an Approver."
        )
    return (
        f"No one else can approve this request. It would expire after {limit}. Ask an "
        "administrator to add an Approver."
    )


@dataclass(frozen=True, kw_only=True)
class ApprovalGaps:
    """Credentials, by name, that need no approval or have too few approvers."""

    # Their org needs no approval, so one person can delete alone.
    without_approval: list[str]
    # Pairs of a warning and the credentials it applies to.
    warnings: list[tuple[str, list[str]]]


def approval_gaps(*, credentials: Sequence[Credential]) -> ApprovalGaps:
    """Which of these credentials need no approval, and which have too few approvers."""
    entries = CredentialAccess.objects.filter(
        credential__in=[credential.pk for credential in credentials]
    )
    with_list = set(entries.values_list("credential", flat=True))
    of_all = {policy: approval_warning(policy) for policy in ApprovalPolicy}
    without_approval, warnings = [], dict[str, list[str]]()
    for credential in credentials:
        org = (credential.site, credential.org_id)
        policy = strictest_policy([org], others=[credential])
        warning = of_all[policy]
        if credential.pk in with_list:
            warning = approval_warning(policy, credential=credential)
        if policy == ApprovalPolicy.NONE:
            without_approval.append(credential.name)
        elif warning:
            warnings.setdefault(warning, []).append(credential.name)
    return ApprovalGaps(without_approval=without_approval, warnings=list(warnings.items()))


def approval_warning(policy: ApprovalPolicy, *, credential: Credential | None = None) -> str | None:
    """A warning that too few people can approve under this policy. None if enough can.

    With `credential`, only people on its access list count.
    """
    needed = policy.approvals_needed
    if not needed:
        return None
    credential_id = credential.pk if credential else None
    available = permissions.people_who_can_approve_with(credential_id=credential_id).count()
    if available > needed:
        return None
    people = pluralize(available, "active approver")
    if available < needed:
        return (
            f"{people}, but {pluralize(needed, 'approval')} needed. Nothing can be deleted until "
            "an administrator adds an Approver."
        )
    return (
        f"{people}. People can't approve their own requests, so a request by an approver can't "
        "be approved."
    )

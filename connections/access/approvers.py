"""Whether there are enough approvers for an approval policy."""

from collections.abc import Sequence
from dataclasses import dataclass

from connections.access import permissions
from connections.models import ApprovalPolicy, Credential, CredentialAccess, Person


def missing_approvers_warning(
    *, credential: Credential, policy: ApprovalPolicy, requester: Person | None
) -> str:
    """A warning that too few others can approve this person's request; "" when enough can."""
    needed = policy.approvals_needed
    if not needed:
        return ""
    excluded = requester.pk if requester else None
    others = permissions.people_who_approve(credential_id=credential.pk, excluded=excluded)
    available = others.count()
    if available >= needed:
        return ""
    subject = "Nobody else" if not available else "Only one other person"
    return (
        f"{subject} can approve it, and it needs {needed}: it would expire after 24 hours. An "
        "administrator must give more people the role Approver first."
    )


def approval_warnings(*, credential: Credential | None = None) -> dict[ApprovalPolicy, str]:
    """`approval_warning` for each policy."""
    return {policy: approval_warning(policy, credential=credential) for policy in ApprovalPolicy}


@dataclass(frozen=True, kw_only=True)
class ApprovalGaps:
    """Credentials, by name, that need no approval or lack approvers."""

    # Their policy needs no approval, so one person alone can delete.
    alone: list[str]
    # Each a warning and the credentials it applies to.
    too_few: list[tuple[str, list[str]]]


def approval_gaps(*, credentials: Sequence[Credential]) -> ApprovalGaps:
    """Which of these credentials need no approval, and which lack approvers."""
    listed = CredentialAccess.objects.filter(credential__in=[each.pk for each in credentials])
    with_list = set(listed.values_list("credential", flat=True))
    of_all = approval_warnings()
    alone, too_few = [], dict[str, list[str]]()
    for credential in credentials:
        policy = ApprovalPolicy(credential.policy)
        warning = of_all[policy]
        if credential.pk in with_list:
            warning = approval_warning(policy, credential=credential)
        if policy == ApprovalPolicy.NONE:
            alone.append(credential.name)
        elif warning:
            too_few.setdefault(warning, []).append(credential.name)
    return ApprovalGaps(alone=alone, too_few=list(too_few.items()))


def approval_warning(policy: ApprovalPolicy, *, credential: Credential | None = None) -> str:
    """A warning that too few people can approve under this policy; "" when enough can.

    With `credential`, only people on its access list count.
    """
    needed = policy.approvals_needed
    if not needed:
        return ""
    credential_id = credential.pk if credential else None
    available = permissions.people_who_approve(credential_id=credential_id).count()
    if available > needed:
        return ""
    people = (
        "Nobody"
        if not available
        else f"{available} active {'person' if available == 1 else 'people'}"
    )
    holds = "hold" if available > 1 else "holds"
    may = "may approve with it" if credential else f"{holds} the role Approver"
    if available < needed:
        return (
            f"{people} {may}, and {needed} must approve: nothing can be deleted with "
            "this credential until an administrator gives it to more people."
        )
    return (
        f"{people} {may}. Nobody approves their own, so what one of them asks for "
        "cannot be approved."
    )

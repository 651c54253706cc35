"""How many people each policy needs, and whether there are that many."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from connections.access import permissions
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    Credential,
    CredentialAccess,
    Person,
    Role,
)


def missing_approvers_warning(
    *, credential: Credential, policy: ApprovalPolicy, asker: Person | None
) -> str:
    """What this person should know before asking under this policy; "" when enough can approve."""
    needed = policy.approvals_needed
    if not needed:
        return ""
    besides = asker.pk if asker else None
    there = permissions.people_who_approve(credential_id=credential.pk, besides=besides).count()
    if there >= needed:
        return ""
    can = "Nobody else" if not there else "Only one other person"
    return (
        f"{can} can approve it, and it needs {needed}: it would expire after 24 hours. An "
        "administrator must give more people the role Approver first."
    )


def approval_warnings(*, credential: Credential | None = None) -> dict[ApprovalPolicy, str]:
    """For each policy what would go wrong because too few people may approve; "" if nothing.


    With `credential` its allow-list counts too.
    """
    return {policy: approval_warning(policy, credential=credential) for policy in ApprovalPolicy}


@dataclass(frozen=True, kw_only=True)
class ApprovalGaps:
    """How four eyes stand over some credentials, by name."""

    # With these one person alone can delete.
    alone: list[str]
    # A warning, and the credentials that it is about.
    too_few: list[tuple[str, list[str]]]


def approval_gaps(*, credentials: Sequence[Credential]) -> ApprovalGaps:
    """Which of these need nobody else, and which need more people than there are."""
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


def count_approvers(*, credential: Credential | None = None) -> int:
    """How many active people could approve a deletion that somebody else asked for."""
    may = Q(is_superuser=True) | Q(groups__name=Role.APPROVER.value)
    people = Person.objects.filter(may, is_active=True)
    if credential:
        people = permissions.filter_by_access_list(
            people, credential_id=credential.pk, kind=AccessKind.APPROVE
        )
    return people.distinct().count()


def approval_warning(policy: ApprovalPolicy, *, credential: Credential | None = None) -> str:
    """What would go wrong with this policy because too few people may approve; "" if nothing.

    With `credential` its allow-list counts too.
    """
    needed = policy.approvals_needed
    there = count_approvers(credential=credential) if needed else 0
    if not needed or there > needed:
        return ""
    people = "Nobody" if not there else f"{there} active {'person' if there == 1 else 'people'}"
    holds = "hold" if there > 1 else "holds"
    may = "may approve with it" if credential else f"{holds} the role Approver"
    if there < needed:
        return (
            f"{people} {may}, and {needed} must approve: nothing can be deleted with "
            "this credential until an administrator gives it to more people."
        )
    return (
        f"{people} {may}. Nobody approves their own, so what one of them asks for "
        "cannot be approved."
    )

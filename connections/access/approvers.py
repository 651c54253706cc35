"""How many people each policy needs, and whether there are that many."""

from collections.abc import Sequence
from dataclasses import dataclass

from connections.access import permissions
from connections.credentials.rules import approval_warning
from connections.models import Credential, CredentialAccess, Person, Policy


def missing_approvers(*, credential: Credential, policy: Policy, asker: Person | None) -> str:
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


def approval_warnings(*, credential: Credential | None = None) -> dict[Policy, str]:
    """For each policy what would go wrong because too few people may approve; "" if nothing.


    With `credential` its allow-list counts too.
    """
    return {policy: approval_warning(policy, credential=credential) for policy in Policy}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How four eyes stand over some credentials, by name."""

    # With these one person alone can delete.
    alone: list[str]
    # A warning, and the credentials that it is about.
    too_few: list[tuple[str, list[str]]]


def standing(*, credentials: Sequence[Credential]) -> Standing:
    """Which of these need nobody else, and which need more people than there are."""
    listed = CredentialAccess.objects.filter(credential__in=[each.pk for each in credentials])
    with_list = set(listed.values_list("credential", flat=True))
    of_all = approval_warnings()
    alone, too_few = [], dict[str, list[str]]()
    for credential in credentials:
        policy = Policy(credential.policy)
        warning = of_all[policy]
        if credential.pk in with_list:
            warning = approval_warning(policy, credential=credential)
        if policy == Policy.NONE:
            alone.append(credential.name)
        elif warning:
            too_few.setdefault(warning, []).append(credential.name)
    return Standing(alone=alone, too_few=list(too_few.items()))

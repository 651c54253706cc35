"""How many approvals an org's requests need: the strictest policy of all credentials it has had.

Retired ones count too, until an administrator changes their policy. So no one else can lower it by
adding, replacing or retiring a credential.
"""

from collections.abc import Collection, Iterable

from connections.models import ApprovalPolicy, Credential


def credentials_of_orgs(orgs: Collection[tuple[str, str]]) -> list[Credential]:
    """The credentials of these orgs, by site and ID, whose approval policies count."""
    of_any_site = Credential.objects.filter(org_id__in={org_id for _, org_id in orgs} - {""})
    fields = of_any_site.only("name", "site", "org_id", "org_name", "policy", "retired_at")
    return [each for each in fields if (each.site, each.org_id) in orgs]


def strictest_policy(
    orgs: Collection[tuple[str, str]], *, others: Iterable[Credential] = ()
) -> ApprovalPolicy:
    """The policy of requests about these orgs, by site and ID, and about what `others` list."""
    counted = [*credentials_of_orgs(orgs), *others]
    return ApprovalPolicy.strictest(credential.policy for credential in counted)


def policy_change_text(*, org: str, previous: str, new: str) -> str:
    """That the strictest policy of an org changed, without the credential that changed it."""
    before, after = (ApprovalPolicy(policy).approvals_needed for policy in (previous, new))
    return f"The approvals needed for {org} changed from {before} to {after}."


def retired_that_decide() -> list[Credential]:
    """The retired credentials that are stricter than every credential in use of their org."""
    in_use = dict[tuple[str, str], int]()
    retired = []
    for each in Credential.objects.exclude(org_id="").order_by("name"):
        org, needed = (each.site, each.org_id), ApprovalPolicy(each.policy).approvals_needed
        if each.is_retired:
            retired.append((org, needed, each))
        else:
            in_use[org] = max(needed, in_use.get(org, 0))
    return [each for org, needed, each in retired if needed > in_use.get(org, 0)]

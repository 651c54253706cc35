"""Records changes of a credential's approval policy, and what they change for its org."""

from collections.abc import Sequence

from connections import audit
from connections.access.actor import Actor
from connections.access.policies import policy_change_text
from connections.audit import EventCode
from connections.models import ApprovalPolicy, Credential


def record_change(
    *,
    credential: Credential,
    sentence: audit.Sentence,
    previous: ApprovalPolicy,
    policy: ApprovalPolicy,
    org: str,
    of_org: tuple[ApprovalPolicy, ApprovalPolicy],
    actor: Actor,
) -> None:
    """Record a new policy, and whether it changes that of `org`, "" if the org isn't known yet.

    `of_org` are the org's strictest policies before and after it.
    """
    details = {"previous_policy": previous, "policy": policy}
    before, after = of_org
    if org and before != after:
        details |= {"previous_org_policy": before, "org_policy": after}
        changed = policy_change_text(org=org, previous=before, new=after)
        sentence = sentence.followed_by(changed)
    audit.record(
        code=EventCode.CREDENTIAL_POLICY_CHANGED,
        actor=actor,
        subject=credential,
        sentence=sentence,
        details=details,
    )


def record_first(
    *,
    credential: Credential,
    policy: ApprovalPolicy,
    org: str,
    same_org: Sequence[Credential],
    actor: Actor,
) -> None:
    """Record the policy that the first verification sets, or that this changes its org's.

    `same_org` are the other credentials of the org that was found.
    """
    previous = ApprovalPolicy(credential.policy)
    org_before = ApprovalPolicy.strictest(each.policy for each in same_org)
    sentence = audit.Sentence(
        "The approval policy of {credential} was changed from “{previous}” to “{new}”, the "
        "strictest of any credential of its org.",
        credential=credential.name,
        previous=previous.label,
        new=policy.label,
    )
    if policy == previous and same_org:
        previous = org_before
        sentence = audit.Sentence(
            "{credential} changed the approval policy of its org from “{previous}” to “{new}”.",
            credential=credential.name,
            previous=previous.label,
            new=policy.label,
        )
    if policy != previous:
        record_change(
            credential=credential,
            sentence=sentence,
            previous=previous,
            policy=policy,
            org=org,
            of_org=(org_before, policy),
            actor=actor,
        )

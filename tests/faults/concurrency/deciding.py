"""Plans of concurrent processes for deletions that need approval."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from connections.access.actor import person_actor
from connections.change_requests import approvals, lifecycle
from connections.core.errors import DomainError
from connections.deletions import break_glass, confirmations
from connections.models import ApprovalPolicy, Credential, Deletion, Person, Role, State
from tests.flows.support import REASON
from tests.support.deletions import request_deletion
from tests.support.people import make_person

type Plan = dict[str, Any]
type Results = list[dict[str, str]]
type Work = Callable[[], Results]

APPROVERS = tuple(f"approver-{number}" for number in range(4))
BREAKER = "breaker"


def guard(plan: Plan) -> Work:
    """Store approvers and a person with break glass, and request every deletion of the plan."""

    def work() -> Results:
        for name in APPROVERS:
            make_person(name, Role.APPROVER)
        make_person(BREAKER, Role.OPERATOR)
        Person.objects.filter(username=BREAKER).update(has_break_glass=True)
        Credential.objects.update(policy=ApprovalPolicy(plan["policy"]))
        for name, connection_id in plan["connections"]:
            _request(person=plan["person"], credential=name, connection_id=UUID(connection_id))
        return []

    return work


def _request(*, person: str, credential: str, connection_id: UUID) -> None:
    actor = person_actor(person=Person.objects.get(username=person))
    sender = Credential.objects.get(name=credential)
    request_deletion(actor=actor, credential=sender, connection_id=connection_id, reason=REASON)


def decide(plan: Plan) -> Work:
    """Load all deletions that need approval first, then apply one action to each."""
    actor = person_actor(person=Person.objects.get(username=plan["person"]))
    waiting = list(Deletion.objects.filter(state=State.REQUESTED).order_by("requested_at"))
    actions: dict[str, Callable[[Deletion], Deletion]] = {
        "approve": lambda deletion: approvals.approve(
            change_request=deletion, actor=actor, digest=deletion.approval_digest
        ),
        "decline": lambda deletion: approvals.decline(
            change_request=deletion, actor=actor, reason=REASON
        ),
        "withdraw": lambda deletion: lifecycle.withdraw(change_request=deletion, actor=actor),
        "break": lambda deletion: break_glass.break_glass(
            deletion=deletion,
            actor=actor,
            break_glass_reason="Nobody else is awake and it cannot wait.",
            confirmation=confirmations.confirmation_text(deletion, actor=actor),
        ),
    }

    def apply_action(deletion: Deletion) -> dict[str, str]:
        try:
            return {"response": actions[plan["act"]](deletion).state}
        except DomainError as error:
            return {"response": type(error).__name__}

    return lambda: [apply_action(deletion) for deletion in waiting]

"""The demo's access reviews: one closed, and one partly decided."""

from collections.abc import Callable
from datetime import date, timedelta
from urllib.parse import urlencode

from connections.access_reviews import closing, decisions, population
from connections.access_reviews.rows import review_rows
from connections.core import clock
from connections.models import AccessReview, AccessReviewRow, ReviewDecision, RowState
from orgadmin.demo.world import DemoWorld, ago

type _Choice = Callable[[AccessReviewRow], bool]


def close_an_access_review(world: DemoWorld) -> None:
    """Three weeks ago: the audit events that Group SOC can query."""
    auditor = world.actor("auditor")
    with ago(days=25):
        review = population.start_review(
            actor=auditor,
            name="Audit events of Group SOC",
            scope="type=audit&destination=Group+SOC",
            due=_today() + timedelta(days=5),
            reviewers=[],
        )
    with ago(days=23, hours=4):
        _decide(
            review,
            world=world,
            reason="Until the bank's own SOC takes over.",
            keep_until=_today() + timedelta(days=20),
            choose=lambda row: row.source_org_name in {"Collections EU", "Lending EU"},
        )
        _decide(
            review,
            world=world,
            reason="Group SOC monitors the audit events of all orgs.",
            choose=lambda row: row.source_org_name not in {"HR Systems", "Treasury"},
        )
    with ago(days=21, hours=2):
        closing.close_review(
            review=review,
            actor=auditor,
            open_reason="Their owners are on leave. The next access review has them again.",
        )


def start_an_access_review(world: DemoWorld) -> None:
    """Six days ago, due in five: everything between Group SOC and other orgs."""
    soc = world.credentials["Group SOC"]
    with ago(days=6):
        review = population.start_review(
            actor=world.actor("auditor"),
            name="Group SOC",
            scope=urlencode({"org": f"{soc.site}/{soc.org_id}"}),
            due=_today() + timedelta(days=11),
            reviewers=[world.people["operator"], world.people["approver"]],
        )
    with ago(days=4, hours=3):
        _decide(
            review,
            world=world,
            reason="Confirmed by the SOC lead.",
            choose=lambda row: row.source_org_name[0] in "CD" and row.sink_org_name == "Group SOC",
        )
        _decide(
            review,
            world=world,
            reason="No dashboard or monitor has used it for 90 days.",
            decision=ReviewDecision.DELETE,
            choose=lambda row: row.source_org_name[0] in "MO",
        )
    with ago(days=1, hours=5):
        _decide(
            review,
            world=world,
            who="approver",
            reason="Needed until the migration ends.",
            keep_until=_today() + timedelta(days=120),
            choose=lambda row: row.source_org_name[0] in "PR",
        )


def _today() -> date:
    return clock.now().date()


def _decide(
    review: AccessReview,
    *,
    world: DemoWorld,
    reason: str,
    choose: _Choice,
    decision: ReviewDecision = ReviewDecision.KEEP,
    keep_until: date | None = None,
    who: str = "operator",
) -> None:
    """Decide about the undecided connections that `choose` accepts, at once."""
    actor = world.actor(who)
    undecided = [
        row.id for row in review_rows(review=review, actor=actor) if row.state == RowState.PENDING
    ]
    rows = AccessReviewRow.objects.filter(pk__in=undecided)
    decisions.decide(
        review=review,
        actor=actor,
        connections=[row.key for row in rows if choose(row)],
        decision=decision,
        reason=reason,
        keep_until=keep_until,
    )

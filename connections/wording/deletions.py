"""The texts of one deletion: headline, lines, next steps, break-glass banner."""

from dataclasses import dataclass, field

from connections.core.errors import RecordedIn, ResponseNotRecordedError
from connections.core.text import format_time
from connections.models import ApprovalPolicy, BreakGlassReview, Deletion
from connections.wording import closed_deletions, open_deletions
from connections.wording.badges import RECHECKING, badge, late_response_texts
from connections.wording.next_steps import NextStep


@dataclass(frozen=True, kw_only=True)
class DeletionText:
    """What a page says about one deletion.

    `quotes` are Datadog's own texts. `alarms` are warnings beside the state. `steps` are the
    possible next steps; the page leaves out those that the person can't take.
    """

    badge: str
    tone: str
    icon: str
    headline: str
    lines: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    steps: tuple[NextStep, ...] = field(default=())


def describe(
    deletion: Deletion,
    *,
    approvers: tuple[str, ...] | None = None,
    may_approve: bool = False,
    seen_by: str = "",
    is_being_rechecked: bool = False,
) -> DeletionText:
    """The text for one deletion.

    `approvers`: names of the people who can approve it; None leaves the sentence out.
    `may_approve`: whether the reader is one of them. `seen_by`: the credential that listed it after
    it was settled as gone. `is_being_rechecked`: whether it is confirmed and being rechecked, which
    depends on the database's clock. Reads the deletion's attempts, and its approvals where it
    needs some; both may be prefetched.
    """
    short = RECHECKING if is_being_rechecked else badge(deletion)
    attempts = list(deletion.attempts.all())
    if is_being_rechecked:
        said = open_deletions.rechecking_text(attempts)
    elif deletion.is_settled:
        said = closed_deletions.text_for(deletion=deletion, attempts=attempts, seen_by=seen_by)
    else:
        said = open_deletions.text_for(
            deletion=deletion, attempts=attempts, approvers=approvers, may_approve=may_approve
        )
    return DeletionText(
        badge=short.label,
        tone=short.tone,
        icon=short.icon,
        headline=said.headline,
        lines=tuple(line for line in said.lines if line),
        quotes=said.quotes,
        alarms=late_response_texts(attempts),
        steps=said.steps,
    )


@dataclass(frozen=True, kw_only=True)
class BreakGlassText:
    """The break-glass banner. A review makes it a warning; it never goes away."""

    tone: str
    headline: str
    lines: tuple[str, ...]


def break_glass_text(deletion: Deletion) -> BreakGlassText | None:
    """The banner of one deletion; None where break glass was not used.

    Reads the review, unless it was prefetched.
    """
    if deletion.break_glass_at is None:
        return None
    review: BreakGlassReview | None = getattr(deletion, "break_glass_review", None)
    needed = {
        ApprovalPolicy.ONE: "the approval of another person",
        ApprovalPolicy.TWO: "two approvals",
    }
    lacking = needed.get(ApprovalPolicy(deletion.policy), "approval")
    reviewed = "Nobody has looked back at it yet: an approver or an administrator does."
    if review:
        at = format_time(review.reviewed_at)
        reviewed = f"Reviewed by {review.reviewer_name} at {at}: “{review.note}”"
    return BreakGlassText(
        tone="warn" if review else "danger",
        headline=f"Glass was broken by {deletion.break_glass_by_name}.",
        lines=(
            f"At {format_time(deletion.break_glass_at)}, to go on without {lacking}: "
            f"“{deletion.break_glass_reason}”",
            reviewed,
        ),
    )


@dataclass(frozen=True, kw_only=True)
class UnrecordedResponseText:
    """The banner for a response that was not recorded."""

    tone: str
    icon: str
    headline: str
    lines: tuple[str, ...]


_TEXTS = {
    RecordedIn.LOCALLY: (
        "unknown",
        "clock",
        "Recorded locally, waiting for the database.",
        "It is safe in a file on this server and enters the record by itself when the database "
        "is back.",
    ),
    RecordedIn.IN_DATABASE: (
        "warn",
        "warning",
        "Recorded; the database has failed since.",
        "The record holds it and can be opened when the database is back.",
    ),
    RecordedIn.NOWHERE: (
        "danger",
        "warning",
        "The result could not be recorded.",
        "Neither the database nor a file took it. Copy it now: the record holds the attempt, but "
        "not its result. Org Admin will check Datadog’s list.",
    ),
}


def unrecorded_response_text(error: ResponseNotRecordedError) -> UnrecordedResponseText:
    """The text for one such error."""
    tone, icon, headline, then = _TEXTS[error.kept]
    said = f"{error.response_text}."
    again = "Do not delete it again."
    return UnrecordedResponseText(
        tone=tone, icon=icon, headline=headline, lines=(said, then, again)
    )

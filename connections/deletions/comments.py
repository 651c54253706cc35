"""Comments on a deletion. They are audit events, so they stay as they were written."""

from collections.abc import Iterable

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.core.typed_text import clean_text
from connections.deletions import history
from connections.models import AuditEvent, Deletion


def comment_on_deletion(*, deletion: Deletion, actor: Actor, text: str) -> None:
    """Add a comment to the deletion, in any state. The state doesn't change.

    The same comment sent twice in a row by the same person is stored once. Raises PermissionDenied,
    and InvalidInputError for a text that is blank or too long.
    """
    permissions.require(permissions.can_comment(actor), "comment on deletions")
    text = clean_text(
        text.replace("\r\n", "\n"),
        field="text",
        noun="comment",
        missing="Enter a comment.",
    )
    with audit.atomic():
        locked = Deletion.objects.select_for_update(no_key=True).get(pk=deletion.pk)
        before = _comment_events(locked)
        if before and _is_same(before[-1], actor=actor, text=text):
            return
        comments = [*_texts(before), text]
        locked.search_text = history.search_text_of(locked, comments=comments)
        locked.save(update_fields=["search_text"])
        one_line = " ".join(text.split())
        audit.record(
            code=audit.EventCode.DELETION_COMMENTED,
            actor=actor,
            subject=locked,
            sentence=audit.Sentence(
                "{actor} commented on the deletion of {connection}: “{comment}”",
                connection=locked.description,
                comment=one_line,
            ),
            details={"text": text},
        )


def list_comments(deletion: Deletion) -> list[str]:
    """The texts of its comments, oldest first."""
    return list(_texts(_comment_events(deletion)))


def _comment_events(deletion: Deletion) -> list[AuditEvent]:
    events = AuditEvent.objects.filter(
        subject_type="deletion",
        subject_id=str(deletion.pk),
        code=audit.EventCode.DELETION_COMMENTED,
    )
    return list(events.order_by("seq"))


def _texts(events: Iterable[AuditEvent]) -> Iterable[str]:
    return (str(event.details["text"]) for event in events)


def _is_same(event: AuditEvent, *, actor: Actor, text: str) -> bool:
    person_id = actor.person.pk if actor.person else None
    return event.actor_id == person_id and event.details["text"] == text

"""Records that someone requested what they can't see, or what their roles don't permit."""

from django.core.cache import cache

from connections import audit
from connections.access.actor import Actor
from connections.models import AccessReview, Batch, ChangeRequest, Org, OrgConnectionKey

# At most one event per person and object is recorded within this time.
REFUSAL_INTERVAL_SECONDS = 60
MAX_PATH_LENGTH = 200


def record_refusal(*, actor: Actor, subject: audit.Subject) -> None:
    """Record that the actor requested a hidden object, at most once a minute for each object."""
    about = audit.reference(subject)
    if not _should_record_refusal(actor, f"{about['type']}:{about['id']}"):
        return
    match subject:
        case ChangeRequest():
            what = f"the {subject}"
        case OrgConnectionKey():
            what = f"connection {subject}"
        case Batch() | AccessReview():
            what = str(subject)
        case _:
            what = f"{about['type']} {subject}"
    audit.record(
        code=audit.EventCode.ACCESS_REFUSED,
        actor=actor,
        subject=subject,
        sentence=audit.Sentence(
            "{actor} tried to access {what}, which isn't visible to them.",
            what=what,
        ),
        details={"site": subject.site} if isinstance(subject, OrgConnectionKey | Org) else {},
    )


def record_denial(*, actor: Actor, url_name: str, method: str, path: str) -> None:
    """Record that a person's roles don't allow a request, at most once a minute per URL name.

    Paths that differ only in an ID have the same URL name.
    """
    if not _should_record_refusal(actor, f"address:{url_name}"):
        return
    audit.record(
        code=audit.EventCode.ACCESS_REFUSED,
        actor=actor,
        sentence=audit.Sentence(
            "{actor} tried to do something that their roles don't permit.",
        ),
        details={"address": url_name, "method": method, "path": path[:MAX_PATH_LENGTH]},
    )


def _should_record_refusal(actor: Actor, what: str) -> bool:
    who = actor.person.pk if actor.person else actor.kind
    return cache.add(f"orgadmin:refused:{who}:{what}", True, REFUSAL_INTERVAL_SECONDS)

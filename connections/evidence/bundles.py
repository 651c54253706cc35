"""Makes an evidence bundle, which an auditor can verify offline.

docs/EVIDENCE.md, “The bundle”, describes its files. One of them is verify.pyz, which verifies the
bundle. Everything is read in one consistent read, so that rows, events and checkpoint match.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from connections import __version__, audit, verifier
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import signing
from connections.audit.signing import SigningKey, load_signing_key
from connections.core import clock
from connections.core.database import consistent_read
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.text import pluralize
from connections.deletions import history
from connections.deletions.history import HistoryFilter
from connections.evidence.access_requests import list_access_requests
from connections.evidence.contents import BundleWriter, format_json
from connections.evidence.files import (
    BundleError,
    BundleFile,
    audit_log_tree,
    bundle_files,
    write_zip,
)
from connections.evidence.program import build_program
from connections.evidence.records import kind_of
from connections.models import AccessReview, AuditEvent, AuditHead, Batch, Checkpoint
from connections.models.released_migrations import AppliedMigration, release_number
from connections.verifier.archive import FORMAT, MANIFEST_FILES
from connections.verifier.events import ACCESS_REQUEST, DELETION

README = Path(verifier.__file__).with_name("README.txt")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Facts about a finished bundle. `since` is None if there is no start. `until` is exclusive."""

    deletions: int
    access_requests: int
    events: int
    since: datetime | None
    until: datetime
    # In bytes.
    size: int
    sha256: str
    # The size of the audit log, and the key that signed the checkpoint.
    checkpoint_size: int
    fingerprint: str
    # How many deletions don't match their events, with descriptions of the first ones.
    differing: int
    differences: tuple[str, ...]

    @property
    def counts_text(self) -> str:
        """How many deletions it has, and access requests if there are any."""
        deletions = pluralize(self.deletions, "deletion")
        requests = pluralize(self.access_requests, "access request")
        return f"{deletions} and {requests}" if self.access_requests else deletions


@dataclass(frozen=True, kw_only=True)
class _BundleRequest:
    """The bundle to make."""

    actor: Actor
    filters: HistoryFilter
    # The filter as its query string.
    query: str
    # " of the access review Q4 2026", " of the bulk deletion 1a2b3c4d"; "" for deletions.
    contents_text: str
    made_at: datetime
    notes: tuple[tuple[str, str], ...]
    started: int
    # The bulk deletion that it is of, if it has all of its deletions and no others.
    batch: Batch | None


def make_bundle(
    *,
    actor: Actor,
    filters: HistoryFilter,
    query: str,
    output: BinaryIO,
    notes: Sequence[tuple[str, str]] = (),
) -> Bundle:
    """Write a bundle of all matching deletions and access requests to `output`, and record it.

    `query` is the filter as its query string. `notes` are checkpoints kept elsewhere, each as its
    name and text, for which the bundle will contain proofs. After an error, the content of `output`
    is useless.

    Raises PermissionDenied, InvalidInputError, SigningKeyError and BundleError. The event of the
    start remains.
    """
    permissions.require(permissions.can_audit(actor), "make an evidence bundle")
    _require_no_newer_release()
    # If it can't be read, fail here, before anything is recorded.
    load_signing_key()
    now = clock.now()
    filters = _validate_period(filters, now=now)
    requested = {"filter": query, **_format_period(filters)}
    contents_text = ""
    if filters.access_review:
        requested["access_review"] = str(filters.access_review)
        review = AccessReview.objects.get(pk=filters.access_review)
        contents_text = f" of the access review {review.name}"
    batch = _find_whole_batch(filters)
    if batch:
        requested["batch"] = str(batch.pk)
        contents_text = f" of the {batch}"
    sentence = audit.Sentence(
        "{actor} started an evidence bundle{contents}.", contents=contents_text
    )
    started = _record(actor, audit.EventCode.EVIDENCE_BUNDLE_STARTED, sentence, requested)
    request = _BundleRequest(
        actor=actor,
        filters=filters,
        query=query,
        contents_text=contents_text,
        made_at=now,
        notes=tuple(notes),
        started=started.seq,
        batch=batch,
    )
    try:
        with bundle_files() as files, consistent_read():
            # Loaded again within the consistent read, because a rotation might have come in
            # between.
            bundle, checkpoint = _write_bundle(
                request, key=load_signing_key(), files=files, output=output
            )
    except BaseException as error:
        cause = {"started": started.seq, "cause": type(error).__name__}
        sentence = audit.Sentence(
            "An evidence bundle{contents} for {actor} failed.", contents=contents_text
        )
        _record(actor, audit.EventCode.EVIDENCE_BUNDLE_ABORTED, sentence, cause)
        raise
    _record_finished(actor, request, bundle, checkpoint)
    return bundle


def make_access_review_bundle(
    *,
    actor: Actor,
    review: AccessReview,
    output: BinaryIO,
    notes: Sequence[tuple[str, str]] = (),
) -> Bundle:
    """Like `make_bundle`, for a closed access review and the deletions of its connections.

    Also raises ConflictError while the access review is open.
    """
    if not review.is_closed:
        raise ConflictError("Only a closed access review has an evidence bundle.")
    return make_bundle(
        actor=actor,
        filters=HistoryFilter(access_review=review.pk),
        query=f"access_review={review.pk}",
        output=output,
        notes=notes,
    )


def _require_no_newer_release() -> None:
    """What a newer release records would be left out without a word."""
    releases = AppliedMigration.objects.values_list("release", flat=True)
    newest = max(releases, key=release_number, default="")
    if release_number(newest) > release_number(__version__):
        raise BundleError(
            f"The database is of release {newest}. A bundle made by release {__version__} would "
            f"leave out what only {newest} records. Make it with release {newest}."
        )


def _validate_period(filters: HistoryFilter, *, now: datetime) -> HistoryFilter:
    until = min(filters.until or now, now)
    if filters.since and filters.since >= until:
        raise InvalidInputError({"since": "The period ends before it begins."})
    return replace(filters, until=until)


def _find_whole_batch(filters: HistoryFilter) -> Batch | None:
    """The requested bulk deletion whose deletions are all those that match."""
    batch = Batch.objects.filter(pk=filters.batch).first() if filters.batch else None
    if batch is None or batch.requested_at is None:
        return None
    if replace(filters, since=None, until=None) != HistoryFilter(batch=batch.pk):
        return None
    # Each of its deletions was requested at the same time.
    is_after_start = filters.since is None or filters.since <= batch.requested_at
    is_before_end = filters.until is None or batch.requested_at < filters.until
    return batch if is_after_start and is_before_end else None


def _write_bundle(
    request: _BundleRequest, *, key: SigningKey, files: dict[str, BundleFile], output: BinaryIO
) -> tuple[Bundle, Checkpoint]:
    head = AuditHead.objects.get()
    checkpoint = signing.build_checkpoint(head=head, key=key, at=clock.now())
    filters = request.filters
    writer = BundleWriter(files=files, tree=audit_log_tree(head=head))
    keys = writer.write_keys(key)
    own = AuditEvent.objects.filter(seq__in=[*keys.rotations, request.started])
    writer.write_events(own.order_by("seq").values_list("seq", "text"))
    writer.write_checkpoints(head=head, keys=keys, notes=request.notes)
    batches = history.iterate_values(
        actor=request.actor, filters=filters, fields=("id", "requested_at")
    )
    ids = (deletion.id for batch in batches for deletion in batch)
    writer.write_records(kind_of(DELETION), ids)
    access_requests = list_access_requests(actor=request.actor, filters=filters)
    writer.write_records(kind_of(ACCESS_REQUEST), access_requests)
    if filters.access_review:
        writer.write_access_review(filters.access_review)
    if request.batch:
        writer.write_plan(request.batch.pk)
    _write_remaining_files(request, writer, checkpoint=checkpoint, origin=head.origin)
    _sign(request, files, key=key, checkpoint=checkpoint, origin=head.origin)
    size, sha256 = write_zip(files=files, output=output)
    bundle = Bundle(
        deletions=sum(writer.counts[DELETION].values()),
        access_requests=sum(writer.counts[ACCESS_REQUEST].values()),
        events=writer.events,
        since=filters.since,
        until=filters.until or request.made_at,
        size=size,
        sha256=sha256,
        checkpoint_size=checkpoint.size,
        fingerprint=key.fingerprint,
        differing=writer.differing.count,
        differences=tuple(writer.differing.descriptions),
    )
    return bundle, checkpoint


def _write_remaining_files(
    request: _BundleRequest,
    writer: BundleWriter,
    *,
    checkpoint: Checkpoint,
    origin: str,
) -> None:
    core = _common_fields(request, origin=origin)
    filtered = {"filter": request.query}
    writer.write_population(filters=request.filters, core=core | filtered)
    writer.write_values()
    writer.files["README.txt"].write_bytes(README.read_bytes())
    writer.files["verify.pyz"].write_bytes(build_program())
    writer.files["checkpoint.txt"].write(checkpoint.note)


def _sign(
    request: _BundleRequest,
    files: dict[str, BundleFile],
    *,
    key: SigningKey,
    checkpoint: Checkpoint,
    origin: str,
) -> None:
    manifest = {
        **_common_fields(request, origin=origin),
        "files": [
            {"name": name, "sha256": files[name].sha256, "size": files[name].size}
            for name in MANIFEST_FILES
        ],
        "format": FORMAT,
        "release": __version__,
        "root": checkpoint.root,
        "size": checkpoint.size,
    }
    text = format_json(manifest)
    files["manifest.json"].write(text)
    line = signing.signature_line(origin=origin, body=text.encode(), key=key)
    files["manifest.sig"].write(line)


def _common_fields(request: _BundleRequest, *, origin: str) -> dict[str, object]:
    """The fields that several files share."""
    period = {**_format_period(request.filters), "timezone": "UTC"}
    return {"made_at": request.made_at.isoformat(), "origin": origin, "period": period}


def _format_period(filters: HistoryFilter) -> dict[str, str | None]:
    return {
        "since": filters.since.isoformat() if filters.since else None,
        "until": filters.until.isoformat() if filters.until else None,
    }


def _record(
    actor: Actor, code: audit.EventCode, sentence: audit.Sentence, details: dict[str, Any]
) -> AuditEvent:
    with audit.atomic() as appended:
        audit.record(code=code, actor=actor, sentence=sentence, details=details)
    return appended[0]


def _record_finished(
    actor: Actor, request: _BundleRequest, bundle: Bundle, checkpoint: Checkpoint
) -> None:
    counts = f"{bundle.counts_text}, {pluralize(bundle.events, 'event')}"
    details = {
        "started": request.started,
        "filter": request.query,
        **_format_period(request.filters),
        "deletions": bundle.deletions,
        "access_requests": bundle.access_requests,
        "events": bundle.events,
        "differing": bundle.differing,
        "bytes": bundle.size,
        "sha256": bundle.sha256,
        "checkpoint_size": checkpoint.size,
        "checkpoint_root": checkpoint.root,
    }
    with audit.atomic():
        signing.store_checkpoint(checkpoint=checkpoint)
        audit.record(
            code=audit.EventCode.EVIDENCE_BUNDLE_FINISHED,
            actor=actor,
            sentence=audit.Sentence(
                "An evidence bundle{contents} for {actor} is complete: {counts}, SHA-256 {sha256}.",
                contents=request.contents_text,
                counts=counts,
                sha256=bundle.sha256,
            ),
            details=details,
        )

"""Imports many credentials together: stores each line whose keys verify, with a result per line."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import batched

from django.db import IntegrityError

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.core import clock
from connections.core.errors import ConflictError, DomainError, InvalidInputError
from connections.credentials import key_checks, lifecycle
from connections.credentials.import_file import ImportLine
from connections.credentials.key_checks import KEY_CHECK_SECONDS, KeyReport
from connections.crypto.encryption import EncryptionError
from connections.models import Credential
from connections.models.credentials import fingerprint_of
from connections.net.http import PARALLEL_REQUESTS


class LineOutcome(StrEnum):
    """How the import of one line ended."""

    ADDED = "added"
    ROTATED = "rotated"
    SKIPPED = "skipped"  # its keys are already stored
    FAILED = "failed"
    NOT_REACHED = "not_reached"  # time ran out; it can be imported again


@dataclass(frozen=True, kw_only=True)
class LineResult:
    """The result of one line. `name` is the stored name or, without one, the name in the file."""

    number: int
    name: str
    outcome: LineOutcome
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A line to verify. `stored` is the credential to rotate, or None for a new one."""

    line: ImportLine
    credential: Credential
    stored: Credential | None


def import_credentials(
    *, actor: Actor, lines: Sequence[ImportLine], rotate: bool, seconds: float | None = None
) -> list[LineResult]:
    """Verify the lines and store those whose keys verify. A failed line affects no other.

    A line whose keys are already stored is skipped. A line with a credential's name but other keys
    fails; with `rotate` it rotates that credential, which requires keys of the same org. `seconds`
    limits the verification of all lines together, and lines after that are not reached.

    Raises PermissionDenied.
    """
    permissions.require(permissions.can_manage_credentials(actor), "import credentials")
    deadline = None if seconds is None else time.monotonic() + seconds
    results = list(_find_repeated_names(lines))
    repeated = {result.number for result in results}
    for batch in batched(
        [line for line in lines if line.number not in repeated], PARALLEL_REQUESTS
    ):
        results += _import_batch(actor=actor, lines=batch, rotate=rotate, deadline=deadline)
    return sorted(results, key=lambda result: result.number)


def _find_repeated_names(lines: Sequence[ImportLine]) -> list[LineResult]:
    """The lines that have the name of an earlier line but other keys."""
    first: dict[str, tuple[int, str]] = {}
    repeated = []
    for line in lines:
        if line.name and line.keys:
            fingerprint = fingerprint_of(site=line.site, keys=line.keys)
            number, first_fingerprint = first.setdefault(
                lifecycle.fold_name(line.name), (line.number, fingerprint)
            )
            if first_fingerprint != fingerprint:
                repeated.append(_failed(line, f"Line {number} has the same name."))
    return repeated


def _import_batch(
    *, actor: Actor, lines: Sequence[ImportLine], rotate: bool, deadline: float | None
) -> list[LineResult]:
    seconds = KEY_CHECK_SECONDS
    if deadline is not None:
        seconds = min(seconds, deadline - time.monotonic())
    if seconds <= 0:
        return [_result(line, LineOutcome.NOT_REACHED) for line in lines]
    prepared = [_prepare(actor=actor, line=line, rotate=rotate) for line in lines]
    results = [result for result in prepared if isinstance(result, LineResult)]
    candidates = [candidate for candidate in prepared if isinstance(candidate, _Candidate)]
    started_at = clock.now()
    try:
        reports = key_checks.verify_in_parallel(
            [candidate.credential for candidate in candidates], seconds=seconds
        )
    except DomainError as error:
        return [*results, *(_failed(candidate.line, str(error)) for candidate in candidates)]
    is_over = deadline is not None and time.monotonic() >= deadline
    for candidate, report in zip(candidates, reports, strict=True):
        if report.failure and is_over:
            results.append(_result(candidate.line, LineOutcome.NOT_REACHED))
        else:
            results.append(
                _store(actor=actor, candidate=candidate, report=report, started_at=started_at)
            )
    return results


def _prepare(*, actor: Actor, line: ImportLine, rotate: bool) -> _Candidate | LineResult:
    if line.keys is None:
        return _failed(line, line.problem)
    if _is_stored(line):
        return _result(line, LineOutcome.SKIPPED)
    try:
        stored = lifecycle.find_by_name(line.name) if line.name else None
        if stored is None:
            credential = lifecycle.build_credential(
                actor=actor, name=line.name, site=line.site, keys=line.keys
            )
        else:
            _require_rotatable(actor=actor, stored=stored, line=line, rotate=rotate)
            credential = lifecycle.build_rotation(actor=actor, credential=stored, keys=line.keys)
    except (DomainError, EncryptionError) as error:
        return _failed(line, str(error))
    return _Candidate(line=line, credential=credential, stored=stored)


def _is_stored(line: ImportLine) -> bool:
    if line.keys is None:
        return False
    fingerprint = fingerprint_of(site=line.site, keys=line.keys)
    return Credential.objects.filter(
        site=line.site, fingerprint=fingerprint, retired_at=None
    ).exists()


def _require_rotatable(*, actor: Actor, stored: Credential, line: ImportLine, rotate: bool) -> None:
    if stored.is_retired or stored.pk in permissions.visibility_of(actor).hidden:
        lifecycle.require_unused_name(line.name, actor=actor)
    if not rotate:
        raise ConflictError(
            f"{stored.name} is stored with other keys. Allow rotation, or use another name."
        )
    if stored.site != line.site:
        raise ConflictError(f"{stored.name} is on another site.")


def _store(
    *, actor: Actor, candidate: _Candidate, report: KeyReport, started_at: datetime
) -> LineResult:
    line, credential = candidate.line, candidate.credential
    try:
        if candidate.stored:
            lifecycle.store_rotation(
                actor=actor,
                credential=candidate.stored,
                candidate=credential,
                report=report,
                started_at=started_at,
            )
            return _result(line, LineOutcome.ROTATED)
        if failure := report.failure:
            lifecycle.record_refused_keys(
                code=audit.EventCode.CREDENTIAL_IMPORT_REFUSED,
                sentence=audit.Sentence(
                    "{line} was not imported. {why}",
                    line=line.name or f"Line {line.number}",
                    why=failure.text,
                ),
                credential=credential,
                failure=failure,
                actor=actor,
                line=line.number,
                name=line.name,
            )
            return _failed(line, failure.text_with_quotes)
        lifecycle.store_new(
            credential=credential,
            has_name=bool(line.name),
            report=report,
            started_at=started_at,
            actor=actor,
        )
    except (InvalidInputError, IntegrityError, ConflictError) as error:
        # Another import might have stored the same line in the meantime.
        if _is_stored(line):
            return _result(line, LineOutcome.SKIPPED)
        if isinstance(error, DomainError):
            return _failed(line, str(error))
        return _failed(line, "Someone else just stored this name. Import the line again.")
    return _result(line, LineOutcome.ADDED, name=credential.name)


def _result(line: ImportLine, outcome: LineOutcome, *, name: str = "") -> LineResult:
    return LineResult(number=line.number, name=name or line.name, outcome=outcome)


def _failed(line: ImportLine, error: str) -> LineResult:
    return LineResult(number=line.number, name=line.name, outcome=LineOutcome.FAILED, error=error)

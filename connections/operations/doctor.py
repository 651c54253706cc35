"""What the `doctor` command looks at: one function for each question, none of which raises."""

import os
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count

from connections.access import approvers
from connections.audit.signing_key import SigningKeyError, read_signing_key
from connections.audit.verifications import last_verification
from connections.core import clock
from connections.crypto.encryption import EncryptionError, check_key_ring
from connections.deletions import spool
from connections.models import Checkpoint, Credential, Deletion, Person
from connections.operations import (
    database_guards,
    destinations,
    heartbeats,
    identity_provider,
    recorded_times,
)
from connections.operations.findings import Finding, Level
from connections.operations.findings import error as _error
from connections.operations.findings import ok as _ok
from connections.operations.findings import warning as _warning
from connections.operations.write_probe import find_write_problem
from connections.wording import pluralize

# Longer than any single thing that a worker does.
OVERDUE_AFTER = timedelta(minutes=5)


def diagnose() -> list[Finding]:
    """Look at everything and change nothing. A database that does not answer is a finding."""
    findings = [*_settings(), *destinations.look(), *identity_provider.check_issuer()]
    findings += _kept_answers()
    try:
        findings += [*_database(), *_keys()]
        schema = list(_migrations())
        findings += schema
        if all(finding.level == Level.OK for finding in schema):
            findings += [*database_guards.check_triggers(), *database_guards.check_role()]
            findings += _writing()
            findings += [*_people(), *_four_eyes(), *_worker(), *_clock(), *_record()]
            findings += _unusable_answers(spool.check_kept)
    except DatabaseError as error:
        findings.append(
            _error("database", f"It does not answer: {error}".strip(), "Look at DATABASE_URL.")
        )
        findings += _unusable_answers(spool.read_kept)
    return findings


def _settings() -> Iterator[Finding]:
    hosts = ", ".join(settings.ALLOWED_HOSTS)
    if settings.IS_LOCAL:
        yield _ok("settings", f"For this machine only ({hosts}): plain HTTP, MFA is offered.")
    else:
        yield _ok("settings", f"Public as {hosts}: HTTPS, Secure cookies and HSTS.")
        yield from _public_settings()
    if settings.DEBUG:
        yield _error("settings", "DEBUG is on: error pages show the inside.", "Unset DEBUG.")
    yield from _data_directory()


def _public_settings() -> Iterator[Finding]:
    if not settings.TRUSTED_PROXIES:
        yield _error(
            "settings",
            "No proxy is trusted, so every request counts as plain HTTP and is redirected.",
            "Name the TLS proxy's address in ORGADMIN_TRUSTED_PROXIES.",
        )
    if not settings.BASE_URL:
        yield _warning(
            "settings",
            "Links that commands make are only paths.",
            "Set ORGADMIN_BASE_URL to the address that people open.",
        )
    if not settings.REQUIRE_MFA:
        yield _warning(
            "settings", "A second factor is not required.", "Unset ORGADMIN_REQUIRE_MFA."
        )
    for message in checks.run_checks(include_deployment_checks=True, tags=["security"]):
        if not message.is_silenced():
            hint = message.hint or "Run: ./run manage check --deploy"
            yield _error("settings", f"{message.id}: {message.msg}", hint)


def _data_directory() -> Iterator[Finding]:
    directory: Path = settings.DATA_DIR
    if not os.access(directory, os.W_OK):
        yield _error(
            "data directory",
            f"{directory} cannot be written by this user.",
            "Run as the user that owns it, or name another in ORGADMIN_DATA_DIR.",
        )
    elif settings.DATABASE_IS_SQLITE and directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield _warning(
            "data directory",
            f"{directory} with the database in it is open to other users of this machine.",
            f"Run: chmod 700 {directory}",
        )
    else:
        yield _ok("data directory", str(directory))


def _kept_answers() -> Iterator[Finding]:
    """Files of what Datadog answered while the database did not; needs no database itself."""
    paths = spool.kept_files()
    if not paths:
        yield _ok("kept answers", "None waits for the database.")
        return
    yield _warning(
        "kept answers",
        f"{len(paths)} in {spool.directory()} wait to be recorded in the database.",
        "A worker records them; or run ./run manage reconcile_deletions.",
    )


def _unusable_answers(look: Callable[[Path], object]) -> Iterator[Finding]:
    for path in spool.kept_files():
        try:
            look(path)
        except spool.UnusableFileError as error:
            yield _error(
                "kept answers",
                f"It cannot be recorded. {error}",
                "Keep the file: it holds what Datadog answered. docs/OPERATIONS.md says more.",
            )


def _database() -> Iterator[Finding]:
    connection.ensure_connection()
    version: tuple[Any, ...] = connection.get_database_version()
    name = f"{connection.display_name} {'.'.join(map(str, version))}"
    minimum = connection.features.minimum_database_version
    if minimum and version < minimum:
        needed = ".".join(map(str, minimum))
        yield _error("database", f"{name} is too old.", f"Use {needed} or newer.")
        return
    if settings.DATABASE_IS_SQLITE:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA quick_check(1)")
            [said] = cursor.fetchone()
        if said != "ok":
            yield _error("database", f"The file is damaged: {said}", "Restore it from a copy.")
            return
    yield _ok("database", f"{name} answers.")


def _writing() -> Iterator[Finding]:
    problem = find_write_problem()
    if problem:
        yield _error("database", problem.detail, problem.hint)
    else:
        yield _ok("database", "It can be written, and there is space for more.")


def _migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        yield _error(
            "migrations",
            f"{len(pending)} are not applied.",
            "Run: ./run manage migrate (with SQLite ./run serve does it by itself).",
        )
    else:
        yield _ok("migrations", "All are applied.")


def _keys() -> Iterator[Finding]:
    try:
        check_key_ring()
    except EncryptionError as error:
        yield _error("key ring", str(error), "docs/OPERATIONS.md says how to restore it.")
        return
    path = Path(settings.KEYRING_FILE)
    if path.exists():
        yield _ok("key ring", f"{path} opens every stored key. Is there a copy of it elsewhere?")
    else:
        yield _ok("key ring", f"None yet: it is made at {path} on first use.")


def _record() -> Iterator[Finding]:
    path = Path(settings.SIGNING_KEY_FILE)
    hint = "docs/OPERATIONS.md, “Signing key”, says how to make or restore it."
    if path.exists():
        try:
            key = read_signing_key(path)
            yield _ok("signing key", f"{path}, fingerprint {key.fingerprint}.")
        except SigningKeyError as error:
            yield _error("signing key", str(error), hint)
    elif Checkpoint.objects.exists() or not settings.DATABASE_IS_SQLITE:
        yield _error("signing key", f"There is none at {path}: no checkpoint is made.", hint)
    else:
        yield _ok("signing key", f"None yet: it is made at {path} on first use.")
    last = last_verification()
    if last is None:
        yield _ok("record", "Not verified yet: a worker does it daily, verify_audit now.")
    elif last.fault:
        yield _error("record", last.message, "Run: ./run manage verify_audit")
    else:
        yield _ok("record", f"Found whole at {last.checked_at:%Y-%m-%d %H:%M} UTC.")


def _clock() -> Iterator[Finding]:
    now = clock.now()
    ahead = recorded_times.find_time_ahead(now=now)
    if ahead is None:
        yield _ok("clock", f"No recorded time is later than the database's clock, {now:%H:%M:%S}.")
        return
    yield _warning(
        "clock",
        f"The newest recorded time is {ahead:%Y-%m-%d %H:%M:%S} UTC, but the database server's "
        f"clock says {now:%Y-%m-%d %H:%M:%S} UTC.",
        "Check that clock; docs/OPERATIONS.md, “A wrong clock”, says what it affects.",
    )


def _people() -> Iterator[Finding]:
    active = Person.objects.filter(is_active=True)
    administrators = active.filter(is_superuser=True).count()
    if not administrators:
        yield _warning(
            "people",
            "There is no active administrator.",
            "Open the set-up link that ./run serve prints, or run createsuperuser.",
        )
        return
    yield _ok("people", f"{active.count()} active; {administrators} can administer.")


def _four_eyes() -> Iterator[Finding]:
    found = approvers.approval_gaps(credentials=list(Credential.objects.filter(retired_at=None)))
    for warning, names in found.too_few:
        hint = "Give more people the role Approver, or change the policy on its page."
        yield _warning("approvers", f"{', '.join(names)}: {warning}", hint)
    if found.alone:
        yield _warning(
            "four eyes",
            f"One person alone can delete with: {', '.join(found.alone)}.",
            "An administrator can ask for one or two approvals on each credential's page.",
        )
    else:
        yield _ok("four eyes", "No credential lets one person delete alone.")


def _worker() -> Iterator[Finding]:
    overdue = Deletion.objects.filter(due_at__lt=clock.now() - OVERDUE_AFTER)
    count = overdue.aggregate(count=Count("pk"))["count"]
    if count:
        minutes = int(OVERDUE_AFTER.total_seconds() // 60)
        yield _error(
            "worker",
            f"{pluralize(count, 'deletion')} due for more than {minutes} minutes: no worker runs.",
            "./run serve starts one; look at its log, or run ./run worker.",
        )
        return
    seen_at = heartbeats.last_seen_at()
    if heartbeats.is_alive(seen_at, now=clock.now()):
        yield _ok("worker", f"One was seen at {seen_at:%Y-%m-%d %H:%M:%S} UTC; nothing is overdue.")
    else:
        seen = f"the last was seen at {seen_at:%Y-%m-%d %H:%M} UTC" if seen_at else "none was seen"
        yield _warning(
            "worker",
            f"No worker is alive ({seen}); nothing is overdue yet.",
            "./run serve starts one; look at its log, or run ./run worker.",
        )

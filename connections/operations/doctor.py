"""What `doctor` says: one finding for each thing that was looked at."""

import os
import stat
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.mail import mailers
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Max

from connections.access import approvers
from connections.audit.signing_key import SigningKeyError, read_signing_key
from connections.audit.verification import last_verification
from connections.core import clock
from connections.crypto.encryption import EncryptionError, check_key_ring
from connections.deletions import spool
from connections.models import AuditEvent, Checkpoint, Credential, Deletion, Person
from connections.net.urls import origin_of
from connections.notifications import channels, webhooks
from connections.operations import database_guards, metrics_token, worker
from connections.operations.findings import Finding, Level, error, ok, warning
from connections.operations.write_probe import find_write_problem
from connections.people import provider_accounts
from connections.people.oidc import client
from connections.people.oidc.exchange import open_exchange
from connections.people.oidc.tokens import ProviderError
from connections.wording import pluralize


def check_issuer() -> Iterator[Finding]:
    """One finding when an issuer is configured: fetches its metadata and signs nobody in."""
    issuer = settings.OIDC_ISSUER
    if not issuer:
        return
    try:
        with open_exchange(provider_accounts.load_provider()) as exchange:
            client.fetch_metadata(exchange)
    except ProviderError as failure:
        yield error(
            "identity provider",
            f"Nobody can sign in with SSO: {failure}",
            "Check ORGADMIN_OIDC_ISSUER, ORGADMIN_OIDC_CLIENT_SECRET_FILE and ORGADMIN_CA_BUNDLE.",
        )
    else:
        yield ok("identity provider", f"{issuer} responds and its metadata is usable.")


def find_time_ahead(*, now: datetime) -> datetime | None:
    """The newest recorded time if it lies in the future by the database's clock, else None.

    One read off an index. Raises what the database raises.
    """
    newest: datetime | None = AuditEvent.objects.aggregate(at=Max("at"))["at"]
    return newest if newest and clock.is_ahead(newest, now=now) else None


def look() -> Iterator[Finding]:
    """One finding for each destination that is set; asks each, and sends nothing."""
    yield from _mail()
    yield from _webhook()
    yield from _checkpoint_file()
    yield from _metrics()


def _mail() -> Iterator[Finding]:
    if not settings.HAS_MAIL:
        yield ok("mail", "None is sent (EMAIL_URL is not set); make_sign_in_link lets people in.")
        if settings.CHECKPOINT_EMAILS:
            yield warning(
                "mail", "Nobody gets checkpoints by mail without EMAIL_URL.", "Set EMAIL_URL."
            )
        return
    try:
        with mailers.default:
            yield ok("mail", f"The server answers; sent as {settings.DEFAULT_FROM_EMAIL}.")
    except (OSError, ValueError) as failure:
        # Not its text, which may repeat what it was given.
        what = type(failure).__name__
        yield error("mail", f"The server cannot be used: {what}.", "Look at EMAIL_URL.")


def _webhook() -> Iterator[Finding]:
    if not settings.WEBHOOK_URL:
        return
    where = origin_of(settings.WEBHOOK_URL)
    path = Path(settings.WEBHOOK_SECRET_FILE)
    try:
        if path.exists() or not settings.DATABASE_IS_SQLITE:
            webhooks.load_secrets(path, make=False)
    except webhooks.WebhookSecretError as failure:
        hint = "docs/OPERATIONS.md, “Notifications”, says how to make it."
        yield error("webhook", str(failure), hint)
    reply = webhooks.probe(webhook=channels.webhook())
    if reply.status is None:
        cause = str(reply.cause).replace("_", " ")
        hint = "Look at ORGADMIN_WEBHOOK_URL, ORGADMIN_HTTP_PROXY and ORGADMIN_CA_BUNDLE."
        yield error("webhook", f"{where} does not answer: {cause}.", hint)
    else:
        yield ok("webhook", f"{where} answers; its secret is {path}.")


def _checkpoint_file() -> Iterator[Finding]:
    if not settings.CHECKPOINT_FILE:
        return
    path = Path(settings.CHECKPOINT_FILE)
    try:
        channels.check_checkpoint_file(path)
        yield ok("checkpoint file", f"{path} can be appended to.")
    except channels.CheckpointFileError as failure:
        hint = "Look at ORGADMIN_CHECKPOINT_FILE."
        yield error("checkpoint file", f"{path}: {failure}", hint)


def _metrics() -> Iterator[Finding]:
    try:
        if metrics_token.load() is not None:
            yield ok("metrics", "/metrics can be read with the token.")
    except metrics_token.MetricsTokenError as failure:
        yield error("metrics", str(failure), "Look at ORGADMIN_METRICS_TOKEN_FILE.")


# Longer than any single thing that a worker does.
OVERDUE_AFTER = timedelta(minutes=5)


def diagnose() -> list[Finding]:
    """Look at everything and change nothing. A database that does not answer is a finding."""
    findings = [*_settings(), *look(), *check_issuer()]
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
    except DatabaseError as failure:
        findings.append(
            error("database", f"It does not answer: {failure}".strip(), "Look at DATABASE_URL.")
        )
        findings += _unusable_answers(spool.read_kept)
    return findings


def _settings() -> Iterator[Finding]:
    hosts = ", ".join(settings.ALLOWED_HOSTS)
    if settings.IS_LOCAL:
        yield ok("settings", f"For this machine only ({hosts}): plain HTTP, MFA is offered.")
    else:
        yield ok("settings", f"Public as {hosts}: HTTPS, Secure cookies and HSTS.")
        yield from _public_settings()
    if settings.DEBUG:
        yield error("settings", "DEBUG is on: error pages show the inside.", "Unset DEBUG.")
    yield from _data_directory()


def _public_settings() -> Iterator[Finding]:
    if not settings.TRUSTED_PROXIES:
        yield error(
            "settings",
            "No proxy is trusted, so every request counts as plain HTTP and is redirected.",
            "Name the TLS proxy's address in ORGADMIN_TRUSTED_PROXIES.",
        )
    if not settings.BASE_URL:
        yield warning(
            "settings",
            "Links that commands make are only paths.",
            "Set ORGADMIN_BASE_URL to the address that people open.",
        )
    if not settings.REQUIRE_MFA:
        yield warning("settings", "A second factor is not required.", "Unset ORGADMIN_REQUIRE_MFA.")
    for message in checks.run_checks(include_deployment_checks=True, tags=["security"]):
        if not message.is_silenced():
            hint = message.hint or "Run: ./run manage check --deploy"
            yield error("settings", f"{message.id}: {message.msg}", hint)


def _data_directory() -> Iterator[Finding]:
    directory: Path = settings.DATA_DIR
    if not os.access(directory, os.W_OK):
        yield error(
            "data directory",
            f"{directory} cannot be written by this user.",
            "Run as the user that owns it, or name another in ORGADMIN_DATA_DIR.",
        )
    elif settings.DATABASE_IS_SQLITE and directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield warning(
            "data directory",
            f"{directory} with the database in it is open to other users of this machine.",
            f"Run: chmod 700 {directory}",
        )
    else:
        yield ok("data directory", str(directory))


def _kept_answers() -> Iterator[Finding]:
    """Files of what Datadog answered while the database did not; needs no database itself."""
    paths = spool.kept_files()
    if not paths:
        yield ok("kept answers", "None waits for the database.")
        return
    yield warning(
        "kept answers",
        f"{len(paths)} in {spool.directory()} wait to be recorded in the database.",
        "A worker records them; or run ./run manage reconcile_deletions.",
    )


def _unusable_answers(look: Callable[[Path], object]) -> Iterator[Finding]:
    for path in spool.kept_files():
        try:
            look(path)
        except spool.UnusableFileError as failure:
            yield error(
                "kept answers",
                f"It cannot be recorded. {failure}",
                "Keep the file: it holds what Datadog answered. docs/OPERATIONS.md says more.",
            )


def _database() -> Iterator[Finding]:
    connection.ensure_connection()
    version: tuple[Any, ...] = connection.get_database_version()
    name = f"{connection.display_name} {'.'.join(map(str, version))}"
    minimum = connection.features.minimum_database_version
    if minimum and version < minimum:
        needed = ".".join(map(str, minimum))
        yield error("database", f"{name} is too old.", f"Use {needed} or newer.")
        return
    if settings.DATABASE_IS_SQLITE:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA quick_check(1)")
            [said] = cursor.fetchone()
        if said != "ok":
            yield error("database", f"The file is damaged: {said}", "Restore it from a copy.")
            return
    yield ok("database", f"{name} answers.")


def _writing() -> Iterator[Finding]:
    problem = find_write_problem()
    if problem:
        yield error("database", problem.detail, problem.hint)
    else:
        yield ok("database", "It can be written, and there is space for more.")


def _migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        yield error(
            "migrations",
            f"{len(pending)} are not applied.",
            "Run: ./run manage migrate (with SQLite ./run serve does it by itself).",
        )
    else:
        yield ok("migrations", "All are applied.")


def _keys() -> Iterator[Finding]:
    try:
        check_key_ring()
    except EncryptionError as failure:
        yield error("key ring", str(failure), "docs/OPERATIONS.md says how to restore it.")
        return
    path = Path(settings.KEYRING_FILE)
    if path.exists():
        yield ok("key ring", f"{path} opens every stored key. Is there a copy of it elsewhere?")
    else:
        yield ok("key ring", f"None yet: it is made at {path} on first use.")


def _record() -> Iterator[Finding]:
    path = Path(settings.SIGNING_KEY_FILE)
    hint = "docs/OPERATIONS.md, “Signing key”, says how to make or restore it."
    if path.exists():
        try:
            key = read_signing_key(path)
            yield ok("signing key", f"{path}, fingerprint {key.fingerprint}.")
        except SigningKeyError as failure:
            yield error("signing key", str(failure), hint)
    elif Checkpoint.objects.exists() or not settings.DATABASE_IS_SQLITE:
        yield error("signing key", f"There is none at {path}: no checkpoint is made.", hint)
    else:
        yield ok("signing key", f"None yet: it is made at {path} on first use.")
    last = last_verification()
    if last is None:
        yield ok("record", "Not verified yet: a worker does it daily, verify_audit now.")
    elif last.fault:
        yield error("record", last.message, "Run: ./run manage verify_audit")
    else:
        yield ok("record", f"Found whole at {last.checked_at:%Y-%m-%d %H:%M} UTC.")


def _clock() -> Iterator[Finding]:
    now = clock.now()
    ahead = find_time_ahead(now=now)
    if ahead is None:
        yield ok("clock", f"No recorded time is later than the database's clock, {now:%H:%M:%S}.")
        return
    yield warning(
        "clock",
        f"The newest recorded time is {ahead:%Y-%m-%d %H:%M:%S} UTC, but the database server's "
        f"clock says {now:%Y-%m-%d %H:%M:%S} UTC.",
        "Check that clock; docs/OPERATIONS.md, “A wrong clock”, says what it affects.",
    )


def _people() -> Iterator[Finding]:
    active = Person.objects.filter(is_active=True)
    administrators = active.filter(is_superuser=True).count()
    if not administrators:
        yield warning(
            "people",
            "There is no active administrator.",
            "Open the set-up link that ./run serve prints, or run createsuperuser.",
        )
        return
    yield ok("people", f"{active.count()} active; {administrators} can administer.")


def _four_eyes() -> Iterator[Finding]:
    found = approvers.approval_gaps(credentials=list(Credential.objects.filter(retired_at=None)))
    for problem, names in found.too_few:
        hint = "Give more people the role Approver, or change the policy on its page."
        yield warning("approvers", f"{', '.join(names)}: {problem}", hint)
    if found.alone:
        yield warning(
            "four eyes",
            f"One person alone can delete with: {', '.join(found.alone)}.",
            "An administrator can ask for one or two approvals on each credential's page.",
        )
    else:
        yield ok("four eyes", "No credential lets one person delete alone.")


def _worker() -> Iterator[Finding]:
    overdue = Deletion.objects.filter(due_at__lt=clock.now() - OVERDUE_AFTER)
    count = overdue.aggregate(count=Count("pk"))["count"]
    if count:
        minutes = int(OVERDUE_AFTER.total_seconds() // 60)
        yield error(
            "worker",
            f"{pluralize(count, 'deletion')} due for more than {minutes} minutes: no worker runs.",
            "./run serve starts one; look at its log, or run ./run worker.",
        )
        return
    seen_at = worker.last_seen_at()
    if worker.is_alive(seen_at, now=clock.now()):
        yield ok("worker", f"One was seen at {seen_at:%Y-%m-%d %H:%M:%S} UTC; nothing is overdue.")
    else:
        seen = f"the last was seen at {seen_at:%Y-%m-%d %H:%M} UTC" if seen_at else "none was seen"
        yield warning(
            "worker",
            f"No worker is alive ({seen}); nothing is overdue yet.",
            "./run serve starts one; look at its log, or run ./run worker.",
        )

"""The checks of `doctor`: settings, database, keys, destinations, people and workers."""

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
from connections.core import clock
from connections.crypto.encryption import EncryptionError, check_key_ring
from connections.deletions import spool
from connections.evidence.verification import last_verification
from connections.models import AuditEvent, Checkpoint, Credential, Deletion, Person
from connections.net.urls import origin_of
from connections.notifications import channels, webhooks
from connections.operations import database_guards, metrics_token, worker
from connections.operations.findings import Finding, Level
from connections.operations.write_probe import find_write_problem
from connections.people import provider_accounts
from connections.people.oidc import client
from connections.people.oidc.exchange import open_exchange
from connections.people.oidc.tokens import ProviderError
from connections.wording import pluralize


def check_identity_provider() -> Iterator[Finding]:
    """Whether the identity provider, if configured, responds with usable metadata."""
    issuer = settings.OIDC_ISSUER
    if not issuer:
        return
    try:
        with open_exchange(provider_accounts.load_identity_provider()) as exchange:
            client.fetch_metadata(exchange)
    except ProviderError as error:
        yield Finding.error(
            "identity provider",
            f"Nobody can sign in with SSO: {error}",
            "Check ORGADMIN_OIDC_ISSUER, ORGADMIN_OIDC_CLIENT_SECRET_FILE and ORGADMIN_CA_BUNDLE.",
        )
    else:
        yield Finding.ok("identity provider", f"{issuer} responds and its metadata is usable.")


def find_future_time(*, now: datetime) -> datetime | None:
    """The newest recorded time if it is later than the database's clock, else None.

    Takes one index look-up. Raises DatabaseError.
    """
    newest: datetime | None = AuditEvent.objects.aggregate(at=Max("at"))["at"]
    return newest if newest and clock.is_ahead(newest, now=now) else None


def check_destinations() -> Iterator[Finding]:
    """Whether the configured mail server, webhook, checkpoint file and metrics token work.

    Connects to the servers without sending a message.
    """
    yield from _check_mail()
    yield from _check_webhook()
    yield from _check_checkpoint_file()
    yield from _check_metrics_token()


def _check_mail() -> Iterator[Finding]:
    if not settings.HAS_MAIL:
        yield Finding.ok(
            "mail", "None is sent (EMAIL_URL is not set); make_sign_in_link lets people in."
        )
        if settings.CHECKPOINT_EMAILS:
            yield Finding.warning(
                "mail", "Nobody gets checkpoints by mail without EMAIL_URL.", "Set EMAIL_URL."
            )
        return
    try:
        with mailers.default:
            yield Finding.ok("mail", f"The server answers; sent as {settings.DEFAULT_FROM_EMAIL}.")
    except (OSError, ValueError) as error:
        # Not its text, which might repeat a password.
        name = type(error).__name__
        yield Finding.error("mail", f"The server cannot be used: {name}.", "Look at EMAIL_URL.")


def _check_webhook() -> Iterator[Finding]:
    if not settings.WEBHOOK_URL:
        return
    origin = origin_of(settings.WEBHOOK_URL)
    path = Path(settings.WEBHOOK_SECRET_FILE)
    try:
        if path.exists() or not settings.DATABASE_IS_SQLITE:
            webhooks.load_secrets(path, make=False)
    except webhooks.WebhookSecretError as error:
        hint = "docs/OPERATIONS.md, “Notifications”, says how to make it."
        yield Finding.error("webhook", str(error), hint)
    response = webhooks.probe(webhook=channels.configured_webhook())
    if response.status is None:
        cause = str(response.cause).replace("_", " ")
        hint = "Look at ORGADMIN_WEBHOOK_URL, ORGADMIN_HTTP_PROXY and ORGADMIN_CA_BUNDLE."
        yield Finding.error("webhook", f"{origin} does not answer: {cause}.", hint)
    else:
        yield Finding.ok("webhook", f"{origin} answers; its secret is {path}.")


def _check_checkpoint_file() -> Iterator[Finding]:
    if not settings.CHECKPOINT_FILE:
        return
    path = Path(settings.CHECKPOINT_FILE)
    try:
        channels.check_checkpoint_file(path)
        yield Finding.ok("checkpoint file", f"{path} can be appended to.")
    except channels.CheckpointFileError as error:
        hint = "Look at ORGADMIN_CHECKPOINT_FILE."
        yield Finding.error("checkpoint file", f"{path}: {error}", hint)


def _check_metrics_token() -> Iterator[Finding]:
    try:
        if metrics_token.load_token() is not None:
            yield Finding.ok("metrics", "/metrics can be read with the token.")
    except metrics_token.MetricsTokenError as error:
        yield Finding.error("metrics", str(error), "Look at ORGADMIN_METRICS_TOKEN_FILE.")


# Longer than any single task of a worker.
OVERDUE_AFTER = timedelta(minutes=5)


def run_all_checks() -> list[Finding]:
    """Run every check and change nothing. An unavailable database is a finding."""
    findings = [*_check_settings(), *check_destinations(), *check_identity_provider()]
    findings += _check_kept_responses()
    try:
        findings += [*_check_database(), *_check_keys()]
        schema = list(_check_migrations())
        findings += schema
        if all(finding.level == Level.OK for finding in schema):
            findings += [*database_guards.check_triggers(), *database_guards.check_role()]
            findings += _check_writing()
            findings += [
                *_check_people(),
                *_check_approvals(),
                *_check_worker(),
                *_check_clock(),
                *_check_audit_log(),
            ]
            findings += _find_unusable_responses(spool.check_kept)
    except DatabaseError as error:
        findings.append(
            Finding.error(
                "database", f"It does not answer: {error}".strip(), "Look at DATABASE_URL."
            )
        )
        findings += _find_unusable_responses(spool.read_kept)
    return findings


def _check_settings() -> Iterator[Finding]:
    hosts = ", ".join(settings.ALLOWED_HOSTS)
    if settings.IS_LOCAL:
        yield Finding.ok(
            "settings", f"For this machine only ({hosts}): plain HTTP, MFA is offered."
        )
    else:
        yield Finding.ok("settings", f"Public as {hosts}: HTTPS, Secure cookies and HSTS.")
        yield from _check_public_settings()
    if settings.DEBUG:
        yield Finding.error("settings", "DEBUG is on: error pages show the inside.", "Unset DEBUG.")
    yield from _check_data_directory()


def _check_public_settings() -> Iterator[Finding]:
    if not settings.TRUSTED_PROXIES:
        yield Finding.error(
            "settings",
            "No proxy is trusted, so every request counts as plain HTTP and is redirected.",
            "Name the TLS proxy's address in ORGADMIN_TRUSTED_PROXIES.",
        )
    if not settings.BASE_URL:
        yield Finding.warning(
            "settings",
            "Links that commands make are only paths.",
            "Set ORGADMIN_BASE_URL to the address that people open.",
        )
    if not settings.REQUIRE_MFA:
        yield Finding.warning(
            "settings", "A second factor is not required.", "Unset ORGADMIN_REQUIRE_MFA."
        )
    for message in checks.run_checks(include_deployment_checks=True, tags=["security"]):
        if not message.is_silenced():
            hint = message.hint or "Run: ./run manage check --deploy"
            yield Finding.error("settings", f"{message.id}: {message.msg}", hint)


def _check_data_directory() -> Iterator[Finding]:
    directory: Path = settings.DATA_DIR
    if not os.access(directory, os.W_OK):
        yield Finding.error(
            "data directory",
            f"{directory} cannot be written by this user.",
            "Run as the user that owns it, or name another in ORGADMIN_DATA_DIR.",
        )
    elif settings.DATABASE_IS_SQLITE and directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding.warning(
            "data directory",
            f"{directory} with the database in it is open to other users of this machine.",
            f"Run: chmod 700 {directory}",
        )
    else:
        yield Finding.ok("data directory", str(directory))


def _check_kept_responses() -> Iterator[Finding]:
    """Responses from Datadog that are stored as files; works without the database."""
    paths = spool.kept_files()
    if not paths:
        yield Finding.ok("kept answers", "None waits for the database.")
        return
    yield Finding.warning(
        "kept answers",
        f"{len(paths)} in {spool.directory()} wait to be recorded in the database.",
        "A worker records them; or run ./run manage reconcile_deletions.",
    )


def _find_unusable_responses(read: Callable[[Path], object]) -> Iterator[Finding]:
    for path in spool.kept_files():
        try:
            read(path)
        except spool.UnusableFileError as error:
            yield Finding.error(
                "kept answers",
                f"It cannot be recorded. {error}",
                "Keep the file: it holds what Datadog answered. docs/OPERATIONS.md says more.",
            )


def _check_database() -> Iterator[Finding]:
    connection.ensure_connection()
    version: tuple[Any, ...] = connection.get_database_version()
    name = f"{connection.display_name} {'.'.join(map(str, version))}"
    minimum = connection.features.minimum_database_version
    if minimum and version < minimum:
        needed = ".".join(map(str, minimum))
        yield Finding.error("database", f"{name} is too old.", f"Use {needed} or newer.")
        return
    if settings.DATABASE_IS_SQLITE:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA quick_check(1)")
            [result] = cursor.fetchone()
        if result != "ok":
            yield Finding.error(
                "database", f"The file is damaged: {result}", "Restore it from a copy."
            )
            return
    yield Finding.ok("database", f"{name} answers.")


def _check_writing() -> Iterator[Finding]:
    problem = find_write_problem()
    if problem:
        yield Finding.error("database", problem.detail, problem.hint)
    else:
        yield Finding.ok("database", "It can be written, and there is space for more.")


def _check_migrations() -> Iterator[Finding]:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if pending:
        yield Finding.error(
            "migrations",
            f"{len(pending)} are not applied.",
            "Run: ./run manage migrate (with SQLite ./run serve does it by itself).",
        )
    else:
        yield Finding.ok("migrations", "All are applied.")


def _check_keys() -> Iterator[Finding]:
    try:
        check_key_ring()
    except EncryptionError as error:
        yield Finding.error("key ring", str(error), "docs/OPERATIONS.md says how to restore it.")
        return
    path = Path(settings.KEYRING_FILE)
    if path.exists():
        yield Finding.ok(
            "key ring", f"{path} opens every stored key. Is there a copy of it elsewhere?"
        )
    else:
        yield Finding.ok("key ring", f"None yet: it is made at {path} on first use.")


def _check_audit_log() -> Iterator[Finding]:
    path = Path(settings.SIGNING_KEY_FILE)
    hint = "docs/OPERATIONS.md, “Signing key”, says how to make or restore it."
    if path.exists():
        try:
            key = read_signing_key(path)
            yield Finding.ok("signing key", f"{path}, fingerprint {key.fingerprint}.")
        except SigningKeyError as error:
            yield Finding.error("signing key", str(error), hint)
    elif Checkpoint.objects.exists() or not settings.DATABASE_IS_SQLITE:
        yield Finding.error("signing key", f"There is none at {path}: no checkpoint is made.", hint)
    else:
        yield Finding.ok("signing key", f"None yet: it is made at {path} on first use.")
    last = last_verification()
    if last is None:
        yield Finding.ok("record", "Not verified yet: a worker does it daily, verify_audit now.")
    elif last.fault:
        yield Finding.error("record", last.message, "Run: ./run manage verify_audit")
    else:
        yield Finding.ok("record", f"Found whole at {last.checked_at:%Y-%m-%d %H:%M} UTC.")


def _check_clock() -> Iterator[Finding]:
    now = clock.now()
    ahead = find_future_time(now=now)
    if ahead is None:
        yield Finding.ok(
            "clock", f"No recorded time is later than the database's clock, {now:%H:%M:%S}."
        )
        return
    yield Finding.warning(
        "clock",
        f"The newest recorded time is {ahead:%Y-%m-%d %H:%M:%S} UTC, but the database server's "
        f"clock says {now:%Y-%m-%d %H:%M:%S} UTC.",
        "Check that clock; docs/OPERATIONS.md, “A wrong clock”, says what it affects.",
    )


def _check_people() -> Iterator[Finding]:
    active = Person.objects.filter(is_active=True)
    administrators = active.filter(is_superuser=True).count()
    if not administrators:
        yield Finding.warning(
            "people",
            "There is no active administrator.",
            "Open the set-up link that ./run serve prints, or run createsuperuser.",
        )
        return
    yield Finding.ok("people", f"{active.count()} active; {administrators} can administer.")


def _check_approvals() -> Iterator[Finding]:
    found = approvers.approval_gaps(credentials=list(Credential.objects.filter(retired_at=None)))
    for problem, names in found.too_few:
        hint = "Give more people the role Approver, or change the policy on its page."
        yield Finding.warning("approvers", f"{', '.join(names)}: {problem}", hint)
    if found.alone:
        yield Finding.warning(
            "four eyes",
            f"One person alone can delete with: {', '.join(found.alone)}.",
            "An administrator can ask for one or two approvals on each credential's page.",
        )
    else:
        yield Finding.ok("four eyes", "No credential lets one person delete alone.")


def _check_worker() -> Iterator[Finding]:
    overdue = Deletion.objects.filter(due_at__lt=clock.now() - OVERDUE_AFTER)
    count = overdue.aggregate(count=Count("pk"))["count"]
    if count:
        minutes = int(OVERDUE_AFTER.total_seconds() // 60)
        yield Finding.error(
            "worker",
            f"{pluralize(count, 'deletion')} due for more than {minutes} minutes: no worker runs.",
            "./run serve starts one; look at its log, or run ./run worker.",
        )
        return
    seen_at = worker.last_seen_at()
    if worker.is_alive(seen_at, now=clock.now()):
        yield Finding.ok(
            "worker", f"One was seen at {seen_at:%Y-%m-%d %H:%M:%S} UTC; nothing is overdue."
        )
    else:
        seen = f"the last was seen at {seen_at:%Y-%m-%d %H:%M} UTC" if seen_at else "none was seen"
        yield Finding.warning(
            "worker",
            f"No worker is alive ({seen}); nothing is overdue yet.",
            "./run serve starts one; look at its log, or run ./run worker.",
        )

"""What `doctor` checks: settings, database, keys, destinations, people and workers.

A check yields Django's messages: Info for what is fine, Warning for what works but needs attention,
Error for what doesn't work or isn't safe. A message's `obj` is the name of its check.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Info, Warning
from django.core.mail import mailers
from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Q

from connections import __version__
from connections.access import approvers, policies
from connections.audit.signing import SigningKeyError, read_signing_key
from connections.batches import running
from connections.change_requests import saved_responses
from connections.change_requests.guards import find_hold, read_clock
from connections.core import clock
from connections.core.own_address import is_pattern, own_origin
from connections.core.private_files import PrivateFileError, read_private_text
from connections.core.text import format_time, join_names, join_some_names, pluralize
from connections.core.urls import origin_of
from connections.crypto.encryption import EncryptionError, check_key_ring
from connections.evidence.verification import last_verification
from connections.inventory.failing import find_failing
from connections.models import AccessRequest, Checkpoint, Credential, Deletion, Person
from connections.notifications import channels, webhooks
from connections.operations import (
    database_guards,
    heartbeats,
    kept_checkpoint,
    metrics_token,
    schema,
)
from connections.operations.due_work import OVERDUE_AFTER
from connections.operations.secret_files import EXPOSED_FILES_HINT, describe_exposed_files
from connections.operations.variables import find_unknown_variables
from connections.operations.write_probe import find_write_problem
from connections.people import provider_accounts
from connections.people.names import list_misleading_names
from connections.people.oidc import client
from connections.people.oidc.exchange import is_usable_issuer, open_exchange
from connections.people.oidc.identity import ProviderError

_ROUTE_SETTINGS = (
    "ORGADMIN_HTTP_PROXY, ORGADMIN_NO_PROXY, ORGADMIN_CA_BUNDLE and ORGADMIN_EXTRA_CA_FILE"
)
_START_WORKER = "./run serve starts one: see its log. Or run ./run worker."

Checks = Mapping[str, Callable[[], Iterator[CheckMessage]]]


def run_all_checks() -> list[CheckMessage]:
    """Run every check without changing anything.

    An unavailable database is an error like any other.
    """
    messages = list(_run(_WITHOUT_DATABASE))
    try:
        messages += _run(_DATABASE)
        if schema.read_schema().has_migrations:
            messages += _run(_WITH_SCHEMA)
    except DatabaseError as error:
        # What was altered explains the error better.
        if not any(message.obj == "migrations" for message in messages):
            text = f"not available: {error}".strip()
            messages.append(Error(text, hint="Check DATABASE_URL.", obj="database"))
        messages += _run(
            {"saved responses": lambda: _find_unusable_responses(saved_responses.read_file)}
        )
    return messages


def _run(checks_by_name: Checks) -> Iterator[CheckMessage]:
    for name, check in checks_by_name.items():
        for message in check():
            message.obj = name
            yield message


# --- Settings -----------------------------------------------------------------------------------


def _check_settings() -> Iterator[CheckMessage]:
    hosts = ", ".join(settings.ALLOWED_HOSTS)
    if settings.IS_LOCAL:
        yield Info(f"for this machine only ({hosts}): plain HTTP, MFA optional")
    else:
        yield Info(f"public as {hosts}: HTTPS, Secure cookies and HSTS")
        yield from _check_public_settings()
    yield from _check_own_address()
    if settings.DEBUG:
        yield Error("DEBUG is on: error pages show internals", hint="Unset DEBUG.")
    for name, similar in find_unknown_variables(os.environ).items():
        hint = f"Use {similar}." if similar else "docs/CONFIGURATION.md lists the variables."
        yield Warning(f"nothing reads the variable {name}", hint=hint)


def _check_public_settings() -> Iterator[CheckMessage]:
    if not settings.TRUSTED_PROXIES:
        yield Error(
            "no trusted proxy, so every request counts as plain HTTP and is redirected",
            hint="Set ORGADMIN_TRUSTED_PROXIES to the TLS proxy's address.",
        )
    if not settings.REQUIRE_MFA:
        yield Warning("MFA is optional", hint="Unset ORGADMIN_REQUIRE_MFA.")
    for message in checks.run_checks(include_deployment_checks=True, tags=["security"]):
        if not message.is_silenced():
            hint = message.hint or "Run ./run manage check --deploy."
            yield Error(f"{message.id}: {message.msg}", hint=hint)


def _check_own_address() -> Iterator[CheckMessage]:
    if settings.BASE_URL:
        return
    address, patterns = own_origin(), list(filter(is_pattern, settings.ALLOWED_HOSTS))
    is_error = not address and bool(settings.HAS_MAIL or settings.OIDC_ISSUER)
    if settings.IS_LOCAL and not is_error:
        return
    problem = f"ALLOWED_HOSTS gives links the address {address}"
    if not address:
        problem = "links in emails and from commands have no address"
    if patterns:
        problem += (
            f", and hosts matched by {', '.join(patterns)} accept no passkeys, start no SSO "
            "sign-in and send no password reset link"
        )
    hint = "Set ORGADMIN_BASE_URL to the address at which people open Org Admin."
    yield (Error if is_error else Warning)(problem, hint=hint)


def _check_data_directory() -> Iterator[CheckMessage]:
    directory: Path = settings.DATA_DIR
    if not os.access(directory, os.W_OK):
        yield Error(
            f"{directory} isn't writable for this user",
            hint="Run as the user that owns it, or set ORGADMIN_DATA_DIR.",
        )
    elif settings.DATABASE_IS_SQLITE and directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Warning(
            f"other users of this machine have access to {directory}, which contains the database",
            hint=f"Run chmod 700 {directory}.",
        )
    else:
        yield Info(str(directory))


def _check_secret_files() -> Iterator[CheckMessage]:
    problem = describe_exposed_files()
    if problem:
        yield Warning(problem, hint=EXPOSED_FILES_HINT)


# --- Destinations -------------------------------------------------------------------------------


def _check_email() -> Iterator[CheckMessage]:
    if not settings.HAS_MAIL:
        yield Info("off (EMAIL_URL not set). Invite people with make_sign_in_link.")
        if settings.CHECKPOINT_EMAILS:
            yield Warning("checkpoints aren't sent by email", hint="Set EMAIL_URL.")
        return
    try:
        # Connects without sending a message.
        with mailers.default:
            yield Info(f"the server responds; sent from {settings.DEFAULT_FROM_EMAIL}")
    except (OSError, ValueError) as error:
        # Not its text, which might repeat a password.
        yield Error(f"the server can't be used: {type(error).__name__}", hint="Check EMAIL_URL.")


def _check_webhook() -> Iterator[CheckMessage]:
    if not settings.WEBHOOK_URL:
        return
    path = Path(settings.WEBHOOK_SECRET_FILE)
    try:
        if path.exists() or not settings.DATABASE_IS_SQLITE:
            webhooks.load_secrets(path, make=False)
    except PrivateFileError as error:
        yield Error(str(error), hint="See docs/OPERATIONS.md, “Notifications”.")
    detail = f"; its secret is {path}"
    yield _check_receiver(settings.WEBHOOK_URL, variable="ORGADMIN_WEBHOOK_URL", detail=detail)


def _check_slack() -> Iterator[CheckMessage]:
    if settings.SLACK_URL:
        yield _check_receiver(settings.SLACK_URL, variable="ORGADMIN_SLACK_URL")


def _check_receiver(url: str, *, variable: str, detail: str = "") -> CheckMessage:
    origin, response = origin_of(url), webhooks.probe(url=url)
    if response.status is None:
        return Error(
            f"no response from {origin}: {str(response.cause).replace('_', ' ')}",
            hint=f"Check {variable}, {_ROUTE_SETTINGS}.",
        )
    return Info(f"{origin} responds{detail}")


def _check_checkpoint_file() -> Iterator[CheckMessage]:
    if not settings.CHECKPOINT_FILE:
        return
    path = Path(settings.CHECKPOINT_FILE)
    try:
        channels.check_checkpoint_file(path)
        yield Info(f"{path} is writable")
    except channels.CheckpointFileError as error:
        yield Error(f"{path}: {error}", hint="Check ORGADMIN_CHECKPOINT_FILE.")


def _check_metrics_token() -> Iterator[CheckMessage]:
    try:
        if metrics_token.load_token() is not None:
            yield Info("/metrics is available with the token")
    except PrivateFileError as error:
        yield Error(str(error), hint="Check ORGADMIN_METRICS_TOKEN_FILE.")


def check_identity_provider() -> Iterator[CheckMessage]:
    """Whether the identity provider, if there is one, is configured and returns usable metadata."""
    needed = {
        "ORGADMIN_OIDC_ISSUER": settings.OIDC_ISSUER,
        "ORGADMIN_OIDC_CLIENT_ID": settings.OIDC_CLIENT_ID,
        "ORGADMIN_OIDC_CLIENT_SECRET_FILE": settings.OIDC_SECRET_FILE,
    }
    missing = [name for name, value in needed.items() if not value]
    needs_provider = settings.SSO_ONLY or settings.OIDC_ROLE_MAP or settings.OIDC_CREATE_PEOPLE
    if len(missing) == len(needed) and not needs_provider:
        return
    if missing:
        yield Error(f"not set: {', '.join(missing)}", hint="Set all three settings, or none.")
        return
    if not is_usable_issuer(settings.OIDC_ISSUER):
        yield Error(
            "ORGADMIN_OIDC_ISSUER isn't a usable address",
            hint="Use https:// without a query, exactly as the identity provider writes it; "
            "http:// only for this machine.",
        )
        return
    try:
        read_private_text(settings.OIDC_SECRET_FILE)
        with open_exchange(provider_accounts.load_identity_provider()) as exchange:
            client.fetch_metadata(exchange)
    except (PrivateFileError, ProviderError) as error:
        yield Error(
            f"SSO sign-in doesn't work: {error}",
            hint="Check ORGADMIN_OIDC_ISSUER, ORGADMIN_OIDC_CLIENT_SECRET_FILE, "
            f"{_ROUTE_SETTINGS}.",
        )
    else:
        yield Info(f"{settings.OIDC_ISSUER} responds with usable metadata")


# --- Database and keys --------------------------------------------------------------------------


def _check_saved_responses() -> Iterator[CheckMessage]:
    paths = saved_responses.list_files()
    if paths:
        yield Warning(
            f"{len(paths)} in {saved_responses.directory()} not yet recorded in the database",
            hint="A worker records them; or run ./run manage reconcile_deletions.",
        )
    else:
        yield Info("none")


def _find_unusable_responses(read: Callable[[Path], object]) -> Iterator[CheckMessage]:
    for path in saved_responses.list_files():
        try:
            read(path)
        except saved_responses.UnusableFileError as error:
            yield Error(
                f"can't be recorded. {error}",
                hint="Keep the file: it contains Datadog's response. See docs/OPERATIONS.md.",
            )


def _check_database() -> Iterator[CheckMessage]:
    connection.ensure_connection()
    version: tuple[Any, ...] = connection.get_database_version()
    name = f"{connection.display_name} {'.'.join(map(str, version))}"
    minimum = connection.features.minimum_database_version
    if minimum and version < minimum:
        yield Error(f"{name} is too old", hint=f"Use {'.'.join(map(str, minimum))} or newer.")
        return
    if settings.DATABASE_IS_SQLITE:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA quick_check(1)")
            [result] = cursor.fetchone()
        if result != "ok":
            yield Error(f"the file is damaged: {result}", hint="Restore a backup.")
            return
    yield Info(f"{name} responds")


def _check_keys() -> Iterator[CheckMessage]:
    path = Path(settings.KEYRING_FILE)
    try:
        check_key_ring()
    except EncryptionError as error:
        yield Error(str(error), hint="See docs/OPERATIONS.md, “Key ring”.")
    else:
        if path.exists():
            yield Info(f"{path} decrypts all stored keys. Keep a copy elsewhere.")
        else:
            yield Info(f"none yet; created at {path} on first use")


def _check_schema() -> Iterator[CheckMessage]:
    database_schema = schema.read_schema()
    if not database_schema.is_usable:
        yield Error(database_schema.problem, hint=database_schema.hint)
    elif database_schema.fit is schema.Fit.NEWER:
        yield Warning(database_schema.problem, hint=database_schema.hint)
    else:
        expected = Counter(kind for kind, _ in schema.expected_objects(connection.vendor))
        yield Info(
            f"all migrations applied; {expected['trigger']} triggers, {expected['index']} indexes "
            f"and {expected['column']} columns in place"
        )


def _check_writing() -> Iterator[CheckMessage]:
    problem = find_write_problem()
    if problem:
        yield Error(problem.detail, hint=problem.hint)
    else:
        yield Info("writable, with enough free space")


def _check_signing_key() -> Iterator[CheckMessage]:
    path = Path(settings.SIGNING_KEY_FILE)
    hint = "See docs/OPERATIONS.md, “Signing key”."
    if path.exists():
        try:
            yield Info(f"{path}, fingerprint {read_signing_key(path).fingerprint}")
        except SigningKeyError as error:
            yield Error(str(error), hint=hint)
    elif Checkpoint.objects.exists() or not settings.DATABASE_IS_SQLITE:
        yield Error(f"{path} is missing, so no checkpoints are made", hint=hint)
    else:
        yield Info(f"none yet; created at {path} on first use")


# --- Content and processes ----------------------------------------------------------------------


def _check_people() -> Iterator[CheckMessage]:
    active = Person.objects.filter(is_active=True)
    administrators = active.filter(is_superuser=True).count()
    if administrators:
        yield Info(f"{active.count()} active, {pluralize(administrators, 'administrator')}")
    else:
        yield Warning(
            "no active administrator",
            hint="Open the setup link that ./run serve (or web) prints, or run createsuperuser.",
        )


def _check_names() -> Iterator[CheckMessage]:
    misleading = list_misleading_names()
    if misleading:
        yield Warning(
            f"names that can be taken for another's or for Org Admin's: {_first(misleading)}",
            hint="Disable these people and add them with other usernames.",
        )


def _first(names: Sequence[str]) -> str:
    """The first names, so that the finding stays on one line."""
    return join_some_names(names, limit=5)


def _check_approvals() -> Iterator[CheckMessage]:
    credentials = list(Credential.objects.filter(retired_at=None))
    gaps = approvers.approval_gaps(credentials=credentials)
    for problem, names in gaps.warnings:
        hint = "Give more people the role Approver, or change the credential's approval policy."
        yield Warning(f"{_first(names)}: {problem}", hint=hint)
    if gaps.without_approval:
        yield Warning(
            f"no approval required for {_first(gaps.without_approval)}",
            hint="An administrator can require 1 or 2 approvals on each credential's page.",
        )
    else:
        yield Info("every credential requires approval" if credentials else "no credential yet")
    for retired in policies.retired_that_decide():
        yield Info(
            f"{retired.get_policy_display()} for {retired.org_name or retired.org_id}, because of "
            f"the retired credential {retired.name}. An administrator can change this on its page.",
        )


def _check_key_age() -> Iterator[CheckMessage]:
    now = clock.now()
    in_use = Credential.objects.filter(retired_at=None)
    old = [credential.name for credential in in_use if credential.has_old_keys(now=now)]
    days = settings.KEY_MAX_AGE.days
    if old:
        yield Warning(
            f"stored more than {days} days ago: {_first(old)}",
            hint="Rotate them: create new keys in Datadog and store them on the credential's page.",
        )
    else:
        yield Info(f"none stored more than {days} days ago")


def _check_worker() -> Iterator[CheckMessage]:
    now = clock.now()
    is_overdue = Q(due_at__lt=now - OVERDUE_AFTER)
    deletions = Deletion.objects.filter(is_overdue).exclude(running.is_held_back(now=now))
    counts = {
        "deletion": deletions.count(),
        "access request": AccessRequest.objects.filter(is_overdue).count(),
    }
    overdue = [pluralize(count, noun) for noun, count in counts.items() if count]
    seen_at = heartbeats.last_seen_at()
    if overdue:
        minutes = int(OVERDUE_AFTER.total_seconds() // 60)
        yield Error(
            f"not running: {join_names(overdue)} overdue by more than {minutes} min",
            hint=_START_WORKER,
        )
    elif heartbeats.is_alive(seen_at, now=now):
        yield Info(f"running (last seen {format_time(seen_at)}). Nothing overdue.")
    else:
        last_seen = f"last seen {format_time(seen_at)}" if seen_at else "never seen"
        yield Warning(f"not running ({last_seen}). Nothing overdue.", hint=_START_WORKER)


def _check_syncs() -> Iterator[CheckMessage]:
    failing = find_failing()
    for group in failing:
        yield Warning(
            f"{group.orgs} failing since {format_time(group.since)}: {group.reason}",
            hint="Changes there aren't seen. See /orgs/?show=failing.",
        )
    if not failing:
        yield Info("no org's syncs are failing")


def _check_hold() -> Iterator[CheckMessage]:
    hold = find_hold()
    if hold is None:
        yield Info("off")
        return
    yield Error(
        f"on since {format_time(hold.put_on_at)}, so Org Admin changes nothing by itself: "
        f"{hold.reason}",
        hint="See what waits at /hold/, or run ./run manage release_hold.",
    )


def _check_kept_checkpoint() -> Iterator[CheckMessage]:
    kept = kept_checkpoint.read_kept_checkpoint()
    path = kept_checkpoint.get_path()
    if kept:
        yield Info(f"workers keep the one of {pluralize(kept.size, 'event')} in {path}")
    elif Checkpoint.objects.exists():
        yield Warning(
            f"none in {path}, so a worker there can't tell whether the database is older",
            hint="A worker keeps it within a minute. Keep the workers' data directory when you "
            "move or restart them.",
        )
    else:
        yield Info("none yet")


def _check_clock() -> Iterator[CheckMessage]:
    reading = read_clock()
    if reading.problem:
        yield Error(
            f"{reading.problem} Nothing is confirmed, sent or ended.",
            hint="Correct that clock. If it is right now, run ./run manage release_hold. See "
            "docs/OPERATIONS.md, “A wrong clock”.",
        )
    else:
        yield Info(
            f"no recorded time is later than the database's clock ({format_time(reading.now)})"
        )


def _check_audit_log() -> Iterator[CheckMessage]:
    last = last_verification()
    if last is None:
        yield Info("not verified yet. A worker verifies it daily; verify_audit does it now.")
    elif last.fault:
        yield Error(last.message, hint="Run ./run manage verify_audit.")
    else:
        yield Info(f"intact, verified {format_time(last.checked_at)}")


_WITHOUT_DATABASE: Checks = {
    "release": lambda: iter([Info(f"Org Admin {__version__}")]),
    "settings": _check_settings,
    "data directory": _check_data_directory,
    "secrets": _check_secret_files,
    "email": _check_email,
    "webhook": _check_webhook,
    "slack": _check_slack,
    "checkpoint file": _check_checkpoint_file,
    "metrics": _check_metrics_token,
    "identity provider": check_identity_provider,
    "saved responses": _check_saved_responses,
}
_DATABASE: Checks = {
    "database": _check_database,
    "migrations": _check_schema,
}
_WITH_SCHEMA: Checks = {
    "key ring": _check_keys,
    "database role": database_guards.check_role,
    "database": _check_writing,
    "people": _check_people,
    "names": _check_names,
    "approval policy": _check_approvals,
    "key age": _check_key_age,
    "worker": _check_worker,
    "syncs": _check_syncs,
    "hold": _check_hold,
    "kept checkpoint": _check_kept_checkpoint,
    "clock": _check_clock,
    "signing key": _check_signing_key,
    "audit log": _check_audit_log,
    "saved responses": lambda: _find_unusable_responses(saved_responses.check_file),
}

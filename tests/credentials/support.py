"""Key pairs of the simulator for services and forms, and recorded events."""

import uuid

from django.utils import timezone

from connections.access.actor import Actor, command_actor
from connections.core.datadog_keys import AccessToken, KeyPair
from connections.core.secret import Secret
from connections.credentials import lifecycle as credential_lifecycle
from connections.models import ApprovalPolicy, AuditEvent, Credential, Deletion, State
from sandbox.entities import KeyPair as SandboxPair
from sandbox.server import SandboxServer
from tests.support.sandbox import key_pair_of, org_named


def keys_of(pair: SandboxPair) -> KeyPair:
    """The pair as a service expects it."""
    return KeyPair(api_key=Secret(pair.api_key), application_key=Secret(pair.application_key))


def token_of(sandbox: SandboxServer, org_name: str) -> AccessToken:
    """A new working access token of the org, as a service expects it."""
    token = sandbox.world.add_access_token(org=org_named(sandbox.world, org_name))
    return AccessToken(access_token=Secret(token.access_token))


def pasted(api_key: str, application_key: str = "f" * 40) -> KeyPair:
    """A pair of arbitrary texts."""
    return KeyPair(api_key=Secret(api_key), application_key=Secret(application_key))


def fields_of(pair: SandboxPair, *, site: str, name: str = "") -> dict[str, str]:
    """What a person types to add the pair."""
    return {
        "name": name,
        "site": site,
        "api_key": pair.api_key,
        "application_key": pair.application_key,
    }


def added(
    sandbox: SandboxServer, org_name: str, *, name: str = "", actor: Actor | None = None
) -> Credential:
    """A credential of an org of the sandbox, added as a command does."""
    return credential_lifecycle.add_credential(
        actor=actor or command_actor(),
        name=name,
        site=org_named(sandbox.world, org_name).site.name,
        keys=keys_of(key_pair_of(sandbox.world, org_name)),
    )


def second_pair(sandbox: SandboxServer, org_name: str) -> SandboxPair:
    """Another working pair of the same org."""
    return sandbox.world.add_key_pair(org=org_named(sandbox.world, org_name))


def codes() -> list[str]:
    """The codes of all events, oldest first."""
    return list(AuditEvent.objects.order_by("seq").values_list("code", flat=True))


def last_event() -> AuditEvent:
    """The newest event."""
    return AuditEvent.objects.order_by("seq").reverse()[0]


def check_results(credential: Credential) -> dict[str, bool | None]:
    """Each stored key check and its result."""
    return {result["check"]: result["ok"] for result in credential.verification}


def deletion_of(credential: Credential, state: State) -> Deletion:
    """An open deletion in that state, of another connection each time."""
    return Deletion.objects.create(
        request_id=uuid.uuid4(),
        site=credential.site,
        connection_id=uuid.uuid4(),
        credential=credential,
        credential_name=credential.name,
        credential_fingerprint=credential.fingerprint,
        source_org_name="Payments US",
        sink_org_name="Group SOC",
        is_reviewed=True,
        digest="d" * 64,
        reason="no longer needed",
        policy=ApprovalPolicy.NONE,
        state=state,
        requested_at=timezone.now(),
        requested_by_name="Ada",
        search_text="",
    )

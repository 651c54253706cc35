"""The configured identity provider, and which of its accounts belong to which people."""

from django.conf import settings
from django.db import IntegrityError

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode, personal_data
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.core.private_files import PrivateFileError, read_private_text
from connections.core.secret import Secret
from connections.models import Person, ProviderAccount
from connections.people import people
from connections.people.oidc.exchange import IdentityProvider
from connections.people.oidc.identity import Failure, ProviderError, is_valid_subject


def load_identity_provider() -> IdentityProvider:
    """The identity provider with its client secret. Raises ProviderError if it can't be read."""
    try:
        secret = Secret(read_private_text(settings.OIDC_SECRET_FILE).strip())
    except PrivateFileError as error:
        raise ProviderError(Failure.UNREACHABLE, str(error)) from None
    return IdentityProvider(
        issuer=settings.OIDC_ISSUER,
        client_id=settings.OIDC_CLIENT_ID,
        client_secret=secret,
        route=settings.OUTBOUND_ROUTE,
        scopes=settings.OIDC_SCOPES,
        roles_claim=settings.OIDC_ROLES_CLAIM if settings.OIDC_ROLE_MAP else "",
        creates_people=settings.OIDC_CREATE_PEOPLE,
        mfa_values=tuple(settings.OIDC_MFA_VALUES),
    )


def find_person(*, issuer: str, subject: str) -> Person | None:
    """The person with this account, even if disabled. None if it isn't connected to anyone."""
    return Person.objects.filter(
        provider_accounts__issuer=issuer, provider_accounts__subject=subject
    ).first()


def find_account(*, person: Person, issuer: str) -> ProviderAccount | None:
    """The person's account at this issuer."""
    return ProviderAccount.objects.filter(person=person, issuer=issuer).first()


@audit.atomic()
def connect_account(*, actor: Actor, person: Person, issuer: str, subject: str) -> ProviderAccount:
    """Let the account `subject` of `issuer` sign in as this person.

    People can connect their own account, and administrators anyone's. Raises PermissionDenied,
    InvalidInputError for a malformed subject, and ConflictError if the account is another person's
    or the person already has one at this issuer.
    """
    is_own = actor.person is not None and actor.person.pk == person.pk
    permissions.require(is_own or permissions.can_administer(actor), "connect accounts of others")
    if not is_valid_subject(subject):
        raise InvalidInputError({"subject": "Enter the exact subject: 1 to 255 ASCII characters."})
    person = people.lock_person(person)
    people.require_sign_in(person)
    account = ProviderAccount(person=person, issuer=issuer, subject=subject, created_at=clock.now())
    try:
        with audit.atomic():
            account.save(force_insert=True)
    except IntegrityError:
        raise ConflictError(
            "Another person is connected to this account, or this person already has one there. "
            "Disconnect it first."
        ) from None
    audit.record(
        code=EventCode.PROVIDER_ACCOUNT_CONNECTED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence(
            "The account {account} at {issuer} was connected to {person}.",
            account=personal_data.address_of(subject, person=person),
            issuer=issuer,
            person=person,
        ),
        details={"issuer": issuer},
    )
    return account


@audit.atomic()
def disconnect_account(*, actor: Actor, person: Person, issuer: str) -> bool:
    """Disconnect the person's account at `issuer` and end their sessions.

    Returns whether there was one. Raises PermissionDenied. Only administrators can do this, so that
    people don't lock themselves out.
    """
    permissions.require(permissions.can_administer(actor), "disconnect accounts")
    person = people.lock_person(person)
    account = find_account(person=person, issuer=issuer)
    if account is None:
        return False
    account.delete()
    person.session_epoch += 1
    person.save(update_fields=["session_epoch"])
    audit.record(
        code=EventCode.PROVIDER_ACCOUNT_DISCONNECTED,
        actor=actor,
        subject=person,
        sentence=audit.Sentence(
            "The account {account} at {issuer} was disconnected from {person}, who "
            "was signed out everywhere.",
            account=personal_data.address_of(account.subject, person=person),
            issuer=issuer,
            person=person,
        ),
        details={"issuer": issuer},
    )
    return True

"""Removes the secrets that only a lost key ring could decrypt, so that everything else works."""

from dataclasses import dataclass
from pathlib import Path

from allauth.mfa.models import Authenticator
from django.conf import settings

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import EventCode
from connections.credentials import retirement
from connections.crypto import encryption
from connections.crypto.encrypted_fields import ENCRYPTED_FIELDS, CredentialColumn
from connections.models import Credential, Person
from connections.people.people import lock_person


@dataclass(frozen=True, kw_only=True, slots=True)
class LostSecrets:
    """What no key of the ring can decrypt."""

    credentials: list[Credential]
    mfa_methods: list[Authenticator]

    def __bool__(self) -> bool:
        return bool(self.credentials or self.mfa_methods)

    @property
    def people(self) -> list[Person]:
        """Those whose MFA methods are lost."""
        return list({each.user_id: each.user for each in self.mfa_methods}.values())


def find_lost_secrets() -> LostSecrets:
    """What no key of the key ring can decrypt. Changes nothing.

    Raises KeyRingError without a usable key ring: a new one must be in place first.
    """
    path = Path(settings.KEYRING_FILE)
    # Not `load_key_ring`, which might create a ring.
    if not path.exists():
        raise encryption.KeyRingError(
            f"There is no key ring at {path}. Run `./run manage make_keys --output DIR`, put its "
            "keyring.json there, then run this again."
        )
    ring = encryption.read_key_ring(path)
    credential_ids, mfa_ids = set[str](), set[int]()
    for field in ENCRYPTED_FIELDS:
        lost = [each for each in field.secrets() if not ring.can_decrypt(each)]
        if isinstance(field, CredentialColumn):
            credential_ids |= {each.context.row_id for each in lost}
        else:
            is_lost = {f"data__{field.key}__in": [each.envelope for each in lost]}
            mfa_ids |= set(Authenticator.objects.filter(**is_lost).values_list("pk", flat=True))
    mfa_methods = Authenticator.objects.filter(pk__in=mfa_ids).select_related("user")
    return LostSecrets(
        credentials=list(Credential.objects.filter(pk__in=credential_ids).order_by("name")),
        mfa_methods=list(mfa_methods.order_by("user__username", "pk")),
    )


def forget_lost_secrets(*, actor: Actor) -> None:
    """Retire every credential and remove every MFA method that no key of the ring can decrypt.

    Each in its own transaction, so that it can be run again after an interruption. Raises
    PermissionDenied, KeyRingError, and ConflictError when one of them is changed at the same time.
    """
    permissions.require(permissions.can_administer(actor), "remove secrets without their keys")
    lost = find_lost_secrets()
    for credential in lost.credentials:
        retirement.retire_unreadable(actor=actor, credential=credential)
    for person in lost.people:
        theirs = [each.pk for each in lost.mfa_methods if each.user_id == person.pk]
        _remove_mfa_methods(actor=actor, person=person, mfa_ids=theirs)


@audit.atomic()
def _remove_mfa_methods(*, actor: Actor, person: Person, mfa_ids: list[int]) -> None:
    """Remove these MFA methods and end the person's sessions.

    Without another method, the password no longer signs in either: alone, it would be enough.
    """
    person = lock_person(person)
    methods = Authenticator.objects.filter(user=person)
    lost = methods.filter(pk__in=mfa_ids)
    types = sorted(lost.values_list("type", flat=True))
    lost.delete()
    has_mfa = methods.exclude(type=Authenticator.Type.RECOVERY_CODES).exists()
    loses_password = not has_mfa and person.has_usable_password()
    if loses_password:
        person.set_unusable_password()
    person.session_epoch += 1
    person.save(update_fields=["password", "session_epoch"])
    audit.record(
        code=EventCode.SECOND_FACTOR_LOST,
        actor=actor,
        subject=person,
        sentence=audit.Sentence(
            "MFA of {person} was removed, because no key of the key ring could decrypt it.",
            person=person,
        ).followed_by(
            "The password was removed too: a sign-in link lets them choose a new one."
            if loses_password
            else ""
        ),
        details={"types": types, "password_removed": loses_password},
    )

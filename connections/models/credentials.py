"""Credentials: the encrypted keys of one Datadog org on one site."""

import hashlib
import uuid
from collections.abc import Iterable
from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower, Now

from connections.core import clock
from connections.core.datadog_keys import AccessToken, DatadogKeys, KeyPair
from connections.core.secret import Secret
from connections.crypto import encryption
from connections.crypto.envelopes import EncryptionContext
from connections.models.references import optional_person_reference
from connections.verifier.labels import APPROVALS_NEEDED

PURPOSE = "credential"


class ApprovalPolicy(models.TextChoices):
    """How many other people must approve a deletion or access request of a credential's org."""

    NONE = "none", "No approval required"
    ONE = "one", "1 approval required"
    TWO = "two", "2 approvals required"

    @property
    def approvals_needed(self) -> int:
        return APPROVALS_NEEDED[self.value]

    @classmethod
    def strictest(cls, policies: Iterable[str]) -> "ApprovalPolicy":
        """The policy that needs the most approvals. NONE if there are no policies."""
        wanted = (cls(policy) for policy in policies)
        return max(wanted, key=lambda policy: policy.approvals_needed, default=cls.NONE)


def fingerprint_of(*, site: str, keys: DatadogKeys) -> str:
    """Twelve hex digits that identify a key pair or access token without revealing it.

    Keys are random and at least 128 bits long, so they can't be recovered from a plain hash.
    """
    secrets = (secret.reveal() for secret in keys.by_field.values())
    text = "\0".join(("orgadmin credential fingerprint", site, *secrets))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# A credential has either the first two or the third.
_SECRETS = ("api_key", "application_key", "access_token")
# Every column that has an encrypted key. Rotating replaces them and retiring clears them.
ENVELOPE_FIELDS = tuple(f"{name}_envelope" for name in _SECRETS)
LAST_FOUR_FIELDS = tuple(f"{name}_last_four" for name in _SECRETS)


class Credential(models.Model):
    """One org's encrypted key pair or access token, with its key checks and use."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    site = models.CharField(max_length=100)
    policy = models.CharField(max_length=8, choices=ApprovalPolicy, default=ApprovalPolicy.NONE)

    # The org that the keys belonged to at their first verification. A rotation can't change it.
    org_id = models.CharField(max_length=64, blank=True)
    org_name = models.CharField(max_length=1000, blank=True)

    api_key_envelope = models.TextField(blank=True)
    application_key_envelope = models.TextField(blank=True)
    access_token_envelope = models.TextField(blank=True)
    secret_version = models.PositiveIntegerField(default=0)
    fingerprint = models.CharField(max_length=12, blank=True)
    api_key_last_four = models.CharField(max_length=4, blank=True)
    application_key_last_four = models.CharField(max_length=4, blank=True)
    access_token_last_four = models.CharField(max_length=4, blank=True)
    keys_set_at = models.DateTimeField()
    keys_set_by_name = models.CharField(max_length=200)

    # The last verification. `verification` has one entry per key check.
    verified_at = models.DateTimeField(null=True)
    verification_cause = models.CharField(max_length=40, blank=True)
    verification = models.JSONField(default=list)
    last_used_at = models.DateTimeField(null=True)
    last_error = models.JSONField(null=True)
    # Ignored while it isn't verified or once it is retired.
    sync_due_at = models.DateTimeField(db_default=Now())
    # When a worker checks the keys again. None if none has tried since 1.2.0.
    key_check_due_at = models.DateTimeField(null=True)
    # When the list of managed orgs was last requested and, if it was not available, why.
    managed_orgs_read_at = models.DateTimeField(null=True)
    managed_orgs_error = models.JSONField(null=True)

    # The Datadog user that owns the keys, who creates every connection that they create. Empty and
    # null until a verification names them. A connection ends with the account of a person.
    key_owner_id = models.CharField(max_length=64, blank=True, db_default="")
    key_owner_name = models.CharField(max_length=200, blank=True, db_default="")
    key_owner_is_service_account = models.BooleanField(null=True)
    # Whether an administrator allowed the keys of a person to create connections.
    person_can_create = models.BooleanField(db_default=False)

    created_at = models.DateTimeField()
    created_by = optional_person_reference()
    created_by_name = models.CharField(max_length=200)
    retired_at = models.DateTimeField(null=True)
    retired_by_name = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("name",)
        indexes = [
            # Every worker queries it about once a second.
            models.Index(
                fields=["sync_due_at"], condition=models.Q(retired_at=None), name="syncs_due"
            )
        ]
        constraints = [
            models.UniqueConstraint(
                Lower("name"),
                name="credential_name_is_unique",
                violation_error_message="Another credential has this name.",
            ),
            models.UniqueConstraint(
                fields=["site", "fingerprint"],
                condition=models.Q(retired_at=None) & ~models.Q(fingerprint=""),
                name="key_pair_is_stored_once",
                violation_error_message="These keys are already stored.",
            ),
            models.CheckConstraint(
                condition=models.Q(access_token_envelope="")
                | models.Q(api_key_envelope="", application_key_envelope=""),
                name="a_key_pair_or_an_access_token",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_write_granted(self) -> bool:
        """Whether the last verification found that the role of the keys' owner can write."""
        return any(each["check"] == "permissions" and each["ok"] for each in self.verification)

    @property
    def is_retired(self) -> bool:
        return self.retired_at is not None

    @property
    def is_verified(self) -> bool:
        """Whether the last verification succeeded with the keys that are stored now."""
        return self.verified_at is not None and not self.verification_cause

    @property
    def is_failing(self) -> bool:
        """Whether it isn't verified, or its last use failed."""
        return not self.is_verified or bool(self.last_error)

    @property
    def failure_cause(self) -> str:
        """Why it isn't verified or, if it is, why its last use failed; "" if nothing failed."""
        cause: str = self.last_error["cause"] if self.last_error else ""
        return self.verification_cause or cause

    @property
    def is_read_only(self) -> bool:
        """Whether its role lacked org_connections_write at the last verification.

        False if that isn't known, for example because it was never verified. Single and bulk
        deletions can use it then: without the permission Datadog responds 403 and deletes nothing.
        """
        return any(
            result["check"] == "permissions" and result["ok"] is False
            for result in self.verification
        )

    def has_old_keys(self, *, now: datetime) -> bool:
        """Whether it is in use and its keys were stored more than ORGADMIN_KEY_MAX_AGE_DAYS ago."""
        age = clock.elapsed_since(self.keys_set_at, now=now)
        return not self.is_retired and age > settings.KEY_MAX_AGE

    @property
    def has_access_token(self) -> bool:
        """Whether it has an access token, or had one before it was retired."""
        return bool(self.access_token_last_four)

    @property
    def last_four(self) -> str:
        """The last four characters of the API key or the access token."""
        return self.access_token_last_four or self.api_key_last_four

    def seal_keys(self, keys: DatadogKeys) -> None:
        """Encrypt the keys into this row's fields, under the next secret version. Doesn't save."""
        self.secret_version += 1
        for name in (*ENVELOPE_FIELDS, *LAST_FOUR_FIELDS):
            setattr(self, name, "")
        for name, secret in keys.by_field.items():
            envelope = encryption.encrypt(secret, context=self._context(name))
            setattr(self, f"{name}_envelope", envelope)
            setattr(self, f"{name}_last_four", secret.last_four)
        self.fingerprint = fingerprint_of(site=self.site, keys=keys)

    def open_keys(self) -> DatadogKeys:
        """The decrypted keys. Raises encryption.KeyRingError or encryption.DecryptionError."""
        if self.access_token_envelope:
            return AccessToken(access_token=self._decrypt("access_token"))
        return KeyPair(
            api_key=self._decrypt("api_key"), application_key=self._decrypt("application_key")
        )

    def _decrypt(self, name: str) -> Secret:
        envelope: str = getattr(self, f"{name}_envelope")
        return encryption.decrypt(envelope, context=self._context(name))

    def _context(self, field: str) -> EncryptionContext:
        return EncryptionContext(
            purpose=PURPOSE,
            row_id=str(self.id),
            field=field,
            site=self.site,
            version=self.secret_version,
        )

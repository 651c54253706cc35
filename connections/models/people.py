"""People who sign in, their roles, and their one-time links."""

import uuid
from functools import cached_property
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Lower
from django.utils.crypto import salted_hmac

from connections.models.access_lists import Visibility, visibility_of


class Role(models.TextChoices):
    """Each role is a group with this name, which a migration creates."""

    VIEWER = "Viewer"  # sees overview, inventory and history
    OPERATOR = "Operator"  # requests deletions and confirms them
    APPROVER = "Approver"  # approves or declines what another person requested
    CREDENTIAL_MANAGER = "Credential manager"  # adds, verifies, rotates and retires credentials
    AUDITOR = "Auditor"  # reads, exports and comments; changes nothing


class Person(AbstractUser):
    """Someone who signs in. A superuser is an administrator and has every role."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Part of every session's hash, so that incrementing it ends all of the person's sessions.
    session_epoch = models.PositiveIntegerField(default=0)
    # Separate from all roles. Administrators don't have it automatically.
    has_break_glass = models.BooleanField(default=False)
    # Emails about changes that need attention, and about access reviews that are due.
    wants_change_emails = models.BooleanField(default=True)
    # No other emails but alerts, and what concerns the person's own account.
    wants_only_alerts = models.BooleanField(default=False, db_default=False)
    # Keys that act without Ctrl, Alt or ⌘, such as N. People who dictate can turn them off.
    wants_single_keys = models.BooleanField(default=True, db_default=True)
    # An account for a program has roles and API tokens, but no email. No one signs in to it.
    is_program = models.BooleanField(default=False, db_default=False)

    class Meta:
        verbose_name_plural = "people"
        # People sign in with either one, ignoring case.
        constraints = [
            models.UniqueConstraint(Lower("username"), name="one_person_by_username"),
            models.UniqueConstraint(
                Lower("email"), condition=~models.Q(email=""), name="one_person_by_email"
            ),
        ]

    def __str__(self) -> str:
        return self.display_name

    @property
    def display_name(self) -> str:
        """The full name, or the username if there is none."""
        return self.get_full_name() or self.username

    @cached_property
    def roles(self) -> frozenset[Role]:
        """The person's roles. An administrator has every role."""
        if self.is_superuser:
            return frozenset(Role)
        known = {role.value for role in Role}
        names = self.groups.values_list("name", flat=True)
        return frozenset(Role(name) for name in names if name in known)

    @cached_property
    def visibility(self) -> Visibility:
        """Which credentials the access lists keep from this person."""
        return visibility_of(person_id=self.pk, sees_all=Role.AUDITOR in self.roles)

    def _get_session_auth_hash(self, secret: Any = None) -> str:
        # AbstractBaseUser hashes only the password, but disabling a person and removing a role must
        # end their sessions too.
        key_salt = "connections.Person.session"
        value = f"{self.password}:{self.session_epoch}:{self.is_active}"
        return salted_hmac(key_salt, value, secret=secret, algorithm="sha256").hexdigest()


class ProviderAccount(models.Model):
    """A person's account at an OpenID Connect identity provider."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="provider_accounts")
    # Exactly as the identity provider sends them, and compared without normalization.
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("issuer", "subject"), name="one_person_by_provider_account"
            ),
            models.UniqueConstraint(
                fields=("person", "issuer"), name="one_provider_account_by_person"
            ),
        ]

    def __str__(self) -> str:
        return f"account at {self.issuer}"


class SignInLink(models.Model):
    """A one-time link: the first administrator's setup, an invitation or a reset.

    Only the token's hash is stored, so that a copy of the database contains no usable link.
    """

    class Purpose(models.TextChoices):
        SET_UP = "set_up"  # creates the first administrator; has no person
        SIGN_IN = "sign_in"  # invitation, forgotten password or lost MFA

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    purpose = models.CharField(max_length=16, choices=Purpose)
    person = models.ForeignKey(
        Person, on_delete=models.CASCADE, null=True, related_name="sign_in_links"
    )
    token_hash = models.CharField(max_length=64, unique=True)
    # For lost MFA. The person who creates the link chooses this, never the person who uses it.
    removes_second_factor = models.BooleanField(default=False)
    made_by_name = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.purpose} link of {self.created_at:%Y-%m-%d %H:%M}"

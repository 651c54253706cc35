"""People who sign in, their roles, and the one-time links that let them in."""

import uuid
from functools import cached_property
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models.functions import Lower
from django.utils.crypto import salted_hmac

from connections.models.credentials import Visibility, visibility_of


class Role(models.TextChoices):
    """A role is a group of this name; a migration makes them."""

    VIEWER = "Viewer"  # sees overview, inventory and history
    OPERATOR = "Operator"  # asks for deletions and confirms them
    APPROVER = "Approver"  # approves or declines what another person asked
    CREDENTIAL_MANAGER = "Credential manager"  # adds, verifies, rotates and retires credentials
    AUDITOR = "Auditor"  # reads, exports and comments; changes nothing


class Person(AbstractUser):
    """Someone who signs in. A superuser is an administrator and holds every role."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    # Part of every session's hash: raising it ends all of the person's sessions at once.
    session_epoch = models.PositiveIntegerField(default=0)
    # Part of no role, and administrators do not hold it by being one.
    may_break_glass = models.BooleanField(default=False)

    class Meta:
        verbose_name_plural = "people"
        # People sign in with either, whatever its case.
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
        """The full name where there is one, else the user name."""
        return self.get_full_name() or self.username

    @cached_property
    def roles(self) -> frozenset[Role]:
        """The roles held; an administrator holds every one."""
        if self.is_superuser:
            return frozenset(Role)
        known = {role.value for role in Role}
        names = self.groups.values_list("name", flat=True)
        return frozenset(Role(name) for name in names if name in known)

    @cached_property
    def visibility(self) -> Visibility:
        """What the allow-lists of credentials leave to this person."""
        return visibility_of(person_id=self.pk, sees_all=Role.AUDITOR in self.roles)

    def _get_session_auth_hash(self, secret: Any = None) -> str:
        # AbstractBaseUser hashes the password alone; a disabled person or one who lost a role
        # must not go on with an old session either.
        key_salt = "connections.Person.session"
        value = f"{self.password}:{self.session_epoch}:{self.is_active}"
        return salted_hmac(key_salt, value, secret=secret, algorithm="sha256").hexdigest()


class ProviderAccount(models.Model):
    """An account at an OpenID Connect provider that lets a person in; nothing else joins them."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="provider_accounts")
    # As the provider writes them: both are compared to the letter.
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
    """A one-time link: the first administrator's set-up, an invitation, a reset.

    Only the token's hash is kept, so that a copy of the database opens no door.
    """

    class Purpose(models.TextChoices):
        SET_UP = "set_up"  # makes the first administrator; belongs to nobody yet
        SIGN_IN = "sign_in"  # invitation, forgotten password, lost second factor

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    purpose = models.CharField(max_length=16, choices=Purpose)
    person = models.ForeignKey(
        Person, on_delete=models.CASCADE, null=True, related_name="sign_in_links"
    )
    token_hash = models.CharField(max_length=64, unique=True)
    # For a lost second factor; chosen by who makes the link, never by who uses it.
    removes_second_factor = models.BooleanField(default=False)
    made_by_name = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.purpose} link of {self.created_at:%Y-%m-%d %H:%M}"

"""Tokens with which programs use the API."""

import uuid

from django.db import models

from connections.models.people import Person


class Scope(models.TextChoices):
    """What a token allows, within what its person may do."""

    READ = "read", "reads everything that its account can see"
    CONNECTIONS = "connections", "reads connections"
    ORGS = "orgs", "reads orgs"
    AGREEMENTS = "agreements", "reads agreements"
    CHANGES = "changes", "reads changes"
    DELETIONS = "deletions", "reads deletions"
    ACCESS_REQUESTS = "access-requests", "reads access requests"
    REVIEWS = "reviews", "reads access reviews"
    AUDIT_EVENTS = "audit-events", "reads the audit log, for Auditors"
    HEALTH = "health", "reads what fails, waits or is overdue"
    REQUEST_ACCESS = "request-access", "requests access, and withdraws its own access requests"
    REQUEST_DELETION = "request-deletion", "requests deletions, and withdraws its own deletions"
    SET_AGREEMENTS = "agreements:write", "sets agreements"
    SET_ORGS = "orgs:write", "sets groups and owners of orgs"

    @property
    def is_write(self) -> bool:
        """Whether READ doesn't include it."""
        return self in _WRITES


_WRITES = {Scope.REQUEST_ACCESS, Scope.REQUEST_DELETION, Scope.SET_AGREEMENTS, Scope.SET_ORGS}


class ApiToken(models.Model):
    """A token of a person, who can be an account for a program.

    Only the token's hash is stored, so that a copy of the database contains no usable token.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=60)
    token_hash = models.CharField(max_length=64, unique=True)
    # Values of Scope.
    scopes = models.JSONField()
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    # To the minute.
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"API token “{self.name}”"

    def allows(self, scope: Scope) -> bool:
        """Whether the token has this scope, or READ for one that only reads."""
        return scope in self.scopes or (not scope.is_write and Scope.READ in self.scopes)

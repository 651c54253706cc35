"""No page changes anything when its event can't be appended."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import OperationalError, connection
from django.test import Client

from connections.audit import events
from connections.models import AccessReviewRow, Deletion, Person, PersonSession
from tests.flows.support import REASON, Page
from tests.web.hardening.test_fuzz import filled, form_for, pages
from tests.web.test_access import MATRIX, addresses

__all__ = ["addresses", "pages"]

pytestmark = pytest.mark.django_db

# Values that make an otherwise unchanged form change something.
CHANGED = {
    "batch-list": {"filter": "type=audit"},
    "credential-new": {"site": "sandbox-us1"},
    "credential-rename": {"name": "Another name"},
    "credential-policy": {"policy": "two"},
    "credential-creator": {"allow_person": "yes"},
    "org-connection-protect": {
        "site": "sandbox-us1",
        "connection_id": str(UUID(int=7)),
        "reason": REASON,
    },
    "change-acknowledge": {"note": REASON},
    "api-token-list": {"name": "CMDB", "scope": "read"},
    "agreement-list": {"owner_text": "SOC team", "purpose": "Fraud alerts"},
    "change-emails-set": {"wanted": "no"},
    "only-alerts-set": {"wanted": "yes"},
    "shortcuts": {"wanted": "no"},
    "hold": {"reason": REASON},
    "person-roles": {"roles": "Auditor"},
    "person-email": {"email": "other@example.com"},
    "person-break-glass": {"allow": "yes"},
    "credential-access": {"see": "role:Viewer"},
    "access-review-new": {"due": "2999-12-31"},
    "access-review-decide": {"decision": "keep"},
    "access-review-owner": {"owner": "edith"},
    "access-review-repeat": {"repeat_months": "3"},
    "access-review-close": {"open_reason": REASON},
}
# Syncs and verifications store their results without an event. A bulk deletion has events once it
# is requested: its draft, and what changed since the draft was made, have none.
READING = {
    "access-request-approve",
    "batch-list",
    "batch-request",
    "org-connection-refresh",
    "deletion-confirm",
    "evidence-verify",
}
# The others do nothing here: they need a deletion in another state, a link or another person.
ACTING = {
    "access-request-approve",
    "access-request-decline",
    "access-request-withdraw",
    "access-review-close",
    "access-review-decide",
    "access-review-new",
    "access-review-repeat",
    "agreement-list",
    "api-token-list",
    "api-token-revoke",
    "batch-approve",
    "batch-cancel",
    "batch-decline",
    "bundle-new",
    "change-acknowledge",
    "change-emails-set",
    "only-alerts-set",
    "credential-access",
    "credential-new",
    "credential-policy",
    "credential-creator",
    "credential-rename",
    "credential-rotate",
    "credential-verify",
    "deletion-comment",
    "deletion-confirm",
    "deletion-withdraw",
    "evidence-verify",
    "hold",
    "notification-retry",
    "org-connection-protect",
    "person-break-glass",
    "person-disable",
    "person-email",
    "person-link",
    "person-new",
    "person-roles",
    "person-sessions-end",
    "session-end",
    "shortcuts",
}


def everything_stored() -> dict[str, list[tuple[Any, ...]]]:
    """All rows except sessions and cache."""
    stored = {}
    with connection.cursor() as cursor:
        for model in apps.get_models(include_auto_created=True):
            if model is not PersonSession:
                table = connection.ops.quote_name(model._meta.db_table)
                cursor.execute(f"SELECT * FROM {table} ORDER BY 1")  # noqa: S608 - our own tables
                stored[table] = cursor.fetchall()
    return stored


@pytest.mark.slow
def test_no_page_changes_anything_without_its_event(
    addresses: dict[str, str],
    pages: list[Page],
    root: Person,
    client_of: Callable[[Person], Client],
    monkeypatch: pytest.MonkeyPatch,
):
    tried: list[str] = []

    def refuse(pending: list[Any]) -> list[Any]:
        if pending:
            tried.append(name)
            raise OperationalError("disk is full")
        return []

    monkeypatch.setattr(events, "_append", refuse)
    client = client_of(root)
    client.raise_request_exception = False
    before, changed = everything_stored(), set()
    deletions = Deletion.objects.count()
    selected = {"connection": AccessReviewRow.objects.earliest("position").key.reference}
    of_selected = {"access-review-decide", "agreement-list"}
    for name in (name for name, (_, may_post) in MATRIX.items() if may_post):
        typed = filled(form_for(addresses[name], pages)) | CHANGED.get(name, {})
        typed |= selected if name in of_selected else {}
        client.post(addresses[name], typed)
        after = everything_stored()
        if after != before:
            changed.add(name)
        before = after
    assert changed == READING
    assert Deletion.objects.count() == deletions
    assert set(tried) == ACTING

"""Many deletions, stored as they would be, without sending anything."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from connections.deletions.history import search_text_of
from connections.models import ApprovalPolicy, Credential, Deletion, Outcome, Person, State

START = datetime(2026, 1, 1, 9, 0, tzinfo=UTC)
Make = Callable[..., Deletion]


@pytest.fixture
def credential(db: None) -> Credential:
    """A credential without keys, which nothing here needs."""
    return Credential.objects.create(
        name="Payments EU",
        site="datadoghq.eu",
        org_id="org-payments",
        org_name="Payments EU",
        keys_set_at=START,
        keys_set_by_name="Margaret",
        created_at=START,
        created_by_name="Margaret",
    )


@pytest.fixture
def make(credential: Credential, ada: Person) -> Make:
    """Store a closed deletion; every field can be overridden, and `minute` shifts its time."""

    def store(*, minute: int = 0, **fields: Any) -> Deletion:
        at = START + timedelta(minutes=minute)
        values: dict[str, Any] = {
            "request_id": uuid4(),
            "site": credential.site,
            "connection_id": uuid4(),
            "credential": credential,
            "credential_name": credential.name,
            "is_reviewed": True,
            "source_org_id": "org-payments",
            "source_org_name": "Payments EU",
            "sink_org_id": "org-soc",
            "sink_org_name": "Group SOC",
            "connection_types": ["logs"],
            "reason": "no longer needed",
            "policy": ApprovalPolicy.NONE,
            "state": State.SETTLED,
            "outcome": Outcome.DELETED,
            "requested_at": at,
            "requested_by": ada,
            "requested_by_name": "Ada",
            "settled_at": at,
        }
        deletion = Deletion(**(values | fields))
        deletion.search_text = search_text_of(deletion)
        deletion.save()
        return deletion

    return store

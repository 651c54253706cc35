"""The addresses whose time and size are measured, grouped by what they show."""

from typing import Any
from urllib.parse import urlencode

from benchmarks import world

# Has a form and needs no statement.
NO_STATEMENT = "/accounts/password/reset/"
ORG = f"{world.SITE}/{world.org_of(1)[0]}"
# Two in five deletions are of its connections.
COMMON_ORG = f"{world.SITE}/{world.org_of(0)[0]}"
MATRIX = "/connections/?view=matrix&source=alpha&destination=alpha"
_CONNECTION = f"{world.SITE}/{world.connection_of(1, 2)}"


def _queries(path: str, queries: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: f"{path}?{urlencode(query, doseq=True)}" for name, query in queries.items()}


def inventory() -> dict[str, str]:
    """The inventory with each kind of filter."""
    return _queries(
        "/connections/",
        {
            "no filter": {},
            "one org": {"org": ORG},
            "a data type": {"type": "audit"},
            "not protected": {"protected": "no"},
            "source and destination": {"source": "alpha", "destination": "beta"},
            "text": {"q": "team 07"},
            "text, no match": {"q": "nosuchword"},
            "second page, by destination": {"sort": "-destination", "page": "2"},
            "last page, by number of credentials": {"sort": "visible", "page": "99"},
        },
    )


def lists() -> dict[str, str]:
    """The first page of the other lists."""
    return {
        "overview": "/",
        "history": "/deletions/",
        "changes": "/changes/",
        "audit log": "/audit/",
        "orgs": "/orgs/",
        "agreements": "/agreements/",
        "search": "/search/?q=team+07",
    }


def details(facts: dict[str, Any]) -> dict[str, str]:
    """Pages about one object, and lists that stay short."""
    return {
        "one org": f"/orgs/{ORG}/",
        "one connection": f"/connections/{_CONNECTION}/",
        "one deletion": f"/deletions/{facts['deletion']}/",
        "review": f"/deletions/new/?credential={facts['credential']}"
        f"&connection_id={world.connection_of(1, 2)}",
        "one credential": f"/credentials/{facts['credential']}/",
        "one event": "/audit/2/",
        "people": "/people/",
        "evidence": "/evidence/",
        "notifications": "/notices/",
    }


def filtered(facts: dict[str, Any]) -> dict[str, str]:
    """The history, the audit log and the changes with filters, and pages from their middle.

    From 10,000 deletions on, a page with matches is full, so that pages of different histories can
    be compared.
    """
    common, rare = facts["people"]
    after = facts["after"]
    history: dict[str, dict[str, Any]] = {
        "from the middle": {"after": after},
        "common person": {"person": common},
        "rare person": {"person": rare},
        "common org": {"org": COMMON_ORG},
        "status, from the middle": {"status": "already_absent", "after": after},
        "rare status": {"status": "stale"},
        "common word": {"q": "contract"},
        "word in none": {"q": "nosuchword"},
        "common word and status": {"q": "contract", "status": "already_absent"},
        "person and status": {"person": common, "status": "already_absent"},
        "org and status": {"org": COMMON_ORG, "status": "already_absent"},
        "two people": {"person": [common, rare]},
        "two orgs and a site": {"org": [COMMON_ORG, ORG], "site": world.SITE},
    }
    changes: dict[str, dict[str, Any]] = {
        "one org": {"org": ORG},
        "text": {"q": "team 07"},
    }
    events: dict[str, dict[str, Any]] = {
        "from the middle": {"after": str(facts["events"] // 2)},
        "one person": {"actor": "person0"},
        "two people and two events": {
            "actor": ["person0", "person1"],
            "code": ["deletion.", "export.started"],
        },
        "common word": {"q": "changed"},
        "word in none": {"q": "nosuchword"},
    }
    kinds = {"history": ("/deletions/", history), "changes": ("/changes/", changes)}
    kinds["audit log"] = ("/audit/", events)
    return {
        f"{kind}: {name}": address
        for kind, (path, queries) in kinds.items()
        for name, address in _queries(path, queries).items()
    }

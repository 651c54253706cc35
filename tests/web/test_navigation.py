"""The navigation: who sees which entry, and the numbers beside them."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from connections.access.actor import person_actor
from connections.batches.drafts import create_draft_from_org
from connections.inventory.matching import KnownOrg
from connections.models import (
    AccessKind,
    Batch,
    BatchState,
    Credential,
    CredentialAccess,
    Person,
    Role,
    State,
)
from connections.web.overview import navigation
from sandbox.server import SandboxServer
from tests.flows.support import store_credential
from tests.web.overview.test_overview import add_deletion

pytestmark = pytest.mark.database(every=3)

ClientOf = Callable[[Person], Client]


@pytest.fixture
def labs(sandbox: SandboxServer, db: None) -> Credential:
    return store_credential(sandbox, "Labs EU")


def counts_in(client: Client) -> dict[str, str]:
    """The numbers of what waits for a person now, by the name of the URL of their list."""
    cache.clear()
    page = client.get("/orgs/").text
    found = re.findall(r'class="nav-count is-waiting" id="count-([\w-]+)">(\d+)<', page)
    return {name: count for name, count in found if name != "menu"}


def entries_for(client: Client) -> dict[str, str]:
    """The entries of the navigation with their numbers now."""
    cache.clear()
    items = client.get("/settings/").context["nav"].items
    return {item.label: item.count for item in items}


def test_entries_that_a_role_cannot_open_or_that_list_nothing_are_hidden(
    client_of: ClientOf, victor: Person, edith: Person, labs: Credential
):
    anyone = ["Overview", "Connections", "Deletions", "Orgs", "Settings"]
    assert list(entries_for(client_of(victor))) == anyone
    assert list(entries_for(client_of(edith))) == [*anyone[:4], "Audit log", "Settings"]


def test_a_size_counts_what_the_reader_can_see(
    client_of: ClientOf, ada: Person, root: Person, labs: Credential
):
    sizes = entries_for(client_of(ada))
    assert int(sizes["Connections"]) == len(client_of(ada).get("/connections/").context["rows"]) > 0
    assert int(sizes["Orgs"]) > 1
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.SEE, person=root)
    assert {label: size for label, size in entries_for(client_of(ada)).items() if size} == {}


def test_each_page_counts_for_its_reader_under_the_access_lists_of_that_time(
    client_of: ClientOf, ada: Person, linus: Person, root: Person, labs: Credential
):
    add_deletion(labs, by=ada, policy="one")
    add_deletion(labs, by=root, policy="one")
    approver, administrator = client_of(linus), client_of(root)
    for _ in range(2):
        assert counts_in(approver) == {"deletion-list": "2"}
        assert counts_in(administrator) == {"deletion-list": "1"}
    only_root = CredentialAccess.objects.create(
        credential=labs, kind=AccessKind.APPROVE, person=root
    )
    assert counts_in(approver) == {}
    assert counts_in(administrator) == {"deletion-list": "1"}
    only_root.delete()
    assert counts_in(approver) == {"deletion-list": "2"}


def test_a_request_counts_until_it_expires_by_the_database_clock(
    client_of: ClientOf, ada: Person, linus: Person, labs: Credential
):
    approver, now = client_of(linus), timezone.now()
    for seconds, counted in ((30, "1"), (-1, "1"), (-3600, "1")):
        add_deletion(labs, by=ada, policy="one", expires_at=now + timedelta(seconds=seconds))
        assert counts_in(approver) == {"deletion-list": counted}
    add_deletion(labs, by=ada, policy="one", expires_at=now + timedelta(hours=24, seconds=-1))
    assert counts_in(approver) == {"deletion-list": "2"}


def test_what_a_person_can_confirm_or_resolve_counts_for_them(
    client_of: ClientOf, ada: Person, root: Person, labs: Credential
):
    add_deletion(labs, by=ada, policy="none", expires_at=timezone.now() + timedelta(hours=1))
    add_deletion(labs, by=root, policy="none", expires_at=timezone.now() + timedelta(hours=1))
    add_deletion(labs, by=root, policy="one", state=State.UNKNOWN)
    add_deletion(labs, by=root, policy="one", state=State.STILL_PRESENT)
    assert counts_in(client_of(ada)) == {"deletion-list": "3"}
    # Once each, also for someone who could approve it.
    assert counts_in(client_of(root)) == {"deletion-list": "3"}
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.USE, person=root)
    assert counts_in(client_of(ada)) == {}


def test_a_bulk_deletion_to_confirm_counts_for_its_requester(
    client_of: ClientOf, ada: Person, root: Person, labs: Credential
):
    org = KnownOrg(site=labs.site, org_id=labs.org_id, name=labs.org_name)
    batch = create_draft_from_org(actor=person_actor(person=ada), org=org)
    Batch.objects.filter(pk=batch.pk).update(
        state=BatchState.APPROVED,
        requested_by=ada,
        requested_at=timezone.now(),
        expires_at=timezone.now() + timedelta(hours=1),
    )
    assert counts_in(client_of(ada)) == {"deletion-list": "1"}
    assert counts_in(client_of(root)) == {}


def test_two_people_with_the_same_roles_have_numbers_of_their_own(
    client_of: ClientOf, linus: Person, labs: Credential
):
    other = Person.objects.create(username="other")
    other.groups.set(linus.groups.all())
    add_deletion(labs, by=other, policy="one")
    assert counts_in(client_of(linus)) == {"deletion-list": "1"}
    assert counts_in(client_of(other)) == {}


def test_a_page_counts_for_the_roles_of_that_time(
    client_of: ClientOf, ada: Person, linus: Person, labs: Credential
):
    add_deletion(labs, by=ada, policy="one")
    approver = client_of(linus)
    assert counts_in(approver) == {"deletion-list": "1"}
    linus.groups.set([Group.objects.get_or_create(name=Role.VIEWER)[0]])
    assert counts_in(approver) == {}


def test_other_pages_take_the_numbers_from_the_cache(
    client_of: ClientOf, ada: Person, linus: Person, labs: Credential
):
    approver = client_of(linus)
    assert counts_in(approver) == {}
    add_deletion(labs, by=ada, policy="one")
    page = approver.get("/settings/")
    assert page.context["nav"].waiting == ""
    with CaptureQueriesContext(connection) as captured:
        approver.get("/settings/")
    assert len([each for each in captured if "orgadmin_cache" in each["sql"]]) == 1
    assert not [each for each in captured if "connections_deletion" in each["sql"]]


def test_what_a_person_does_changes_their_numbers_at_once(
    client_of: ClientOf, ada: Person, linus: Person, labs: Credential
):
    deletion = add_deletion(labs, by=ada, policy="one")
    approver = client_of(linus)
    assert counts_in(approver) == {"deletion-list": "1"}
    approver.post(f"/deletions/{deletion.pk}/decline/", {"reason": "Still needed."})
    assert approver.get("/settings/").context["nav"].waiting == ""


def test_the_numbers_are_those_of_the_overview(
    client_of: ClientOf, root: Person, ada: Person, labs: Credential
):
    add_deletion(labs, by=ada, policy="one")
    add_deletion(labs, by=ada, state=State.UNKNOWN)
    page = client_of(root).get("/")
    assert page.context["nav"].waiting == str(page.context["count"]) == "2"


def test_a_large_size_is_not_counted_to_the_end(
    client_of: ClientOf, ada: Person, labs: Credential, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(navigation, "_MOST", 0)
    sizes = entries_for(client_of(ada))
    assert (sizes["Connections"], sizes["Orgs"]) == ("0+", "0+")

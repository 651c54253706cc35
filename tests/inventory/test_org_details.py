"""Groups and owners of orgs: on the pages, by CSV, and who can set them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import call_command
from django.db import connection
from django.http import Http404
from django.test import Client
from django.test.utils import CaptureQueriesContext

from connections.access.actor import command_actor, person_actor
from connections.core.errors import InvalidInputError
from connections.inventory.org_details import OrgDetails, import_org_groups, set_org_details
from connections.inventory.rate_limits import OrgKey
from connections.models import AccessKind, AuditEvent, Credential, Org, Person
from connections.people.people import disable_person
from tests.agreements.support import let_only
from tests.flows.support import read

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]


def org_of(credential: Credential) -> OrgKey:
    return OrgKey(site=credential.site, org_id=credential.org_id)


def reference(key: OrgKey) -> str:
    return f"{key.site}/{key.org_id}"


def stored(key: OrgKey) -> tuple[str, Person | None]:
    org = Org.objects.get(site=key.site, org_id=key.org_id)
    return org.group, org.owner


@pytest.mark.database
def test_what_is_not_set_stays_and_a_change_is_an_event(payments: Credential, ada: Person):
    key, actor = org_of(payments), person_actor(person=ada)
    for details in (OrgDetails(group=" acquired  2026 "), OrgDetails(owner=ada)):
        assert len(set_org_details(actor=actor, orgs=[key], details=details)) == 1
        assert set_org_details(actor=actor, orgs=[key], details=details) == []
    assert stored(key) == ("acquired 2026", ada)
    set_org_details(actor=actor, orgs=[key], details={"group": ""})
    assert stored(key) == ("", ada)
    events = AuditEvent.objects.filter(code="org.details_set").order_by("seq")
    assert [event.sentence for event in events] == [
        "Ada changed the details of Payments US. Its group is acquired 2026.",
        "Ada changed the details of Payments US. Its owner is Ada.",
        "Ada changed the details of Payments US. Its group is none.",
    ]


def test_only_operators_who_can_use_a_credential_and_administrators_set_them(
    payments: Credential, ada: Person, grace: Person, linus: Person, root: Person
):
    let_only(ada, credential=payments, kind=AccessKind.USE, actor=person_actor(person=root))
    details = OrgDetails(group="production")
    for person in (grace, linus):
        actor = person_actor(person=Person.objects.get(pk=person.pk))
        with pytest.raises(PermissionDenied):
            set_org_details(actor=actor, orgs=[org_of(payments)], details=details)
    set_org_details(
        actor=person_actor(person=Person.objects.get(pk=root.pk)),
        orgs=[org_of(payments)],
        details=details,
    )
    assert stored(org_of(payments)) == ("production", None)


def test_unknown_orgs_and_people_who_left_are_refused(
    payments: Credential, grace: Person, root: Person
):
    key, actor = org_of(payments), command_actor()
    unknown = OrgKey(site=key.site, org_id="unknown")
    with pytest.raises(Http404):
        set_org_details(actor=actor, orgs=[key, unknown], details={"group": "x"})
    disable_person(actor=person_actor(person=root), person=grace)
    with pytest.raises(InvalidInputError, match="account of Grace is disabled"):
        set_org_details(actor=actor, orgs=[key], details={"owner": Person.objects.get(pk=grace.pk)})
    with pytest.raises(InvalidInputError, match="at most 60 characters"):
        set_org_details(actor=actor, orgs=[key], details={"group": "x" * 61})
    assert stored(key) == ("", None)


def test_the_form_sets_one_org_and_its_page_and_the_list_show_it(
    payments: Credential, ada: Person, client_of: ClientOf
):
    client, key = client_of(ada), org_of(payments)
    page = client.get(f"/orgs/{key.site}/{key.org_id}/").content.decode()
    address = f"/orgs/details/?org={key.site}%2F{key.org_id}"
    assert address in page
    assert client.get(address).status_code == 200
    form = {"org": reference(key), "group": "production", "owner": "ada"}
    response = client.post("/orgs/details/", form)
    assert (response.status_code, response["Location"]) == (303, f"/orgs/{key.site}/{key.org_id}/")
    page = client.get(response["Location"]).content.decode()
    assert "production" in page
    assert "1 org changed." in page
    listed = client.get("/orgs/?group=production").content.decode()
    assert listed.count("<tr data-org=") == 1
    assert f'<tr data-org="{reference(key)}"' in listed
    refused = client.post("/orgs/details/", form | {"group": "x" * 61})
    assert refused.status_code == 422
    assert stored(key) == ("production", ada)


def test_several_orgs_keep_the_details_in_which_they_differ(
    payments: Credential, soc: Credential, ada: Person, client_of: ClientOf
):
    client, keys = client_of(ada), [org_of(payments), org_of(soc)]
    details = OrgDetails(group="production", owner=ada)
    set_org_details(actor=command_actor(), orgs=keys[:1], details=details)
    orgs = [reference(key) for key in keys]
    page = client.post("/orgs/details/", {"org": orgs, "edit": "yes"}).content.decode()
    assert 'placeholder="Different, left as they are"' in page
    assert '<option value="" selected>Different, left as they are</option>' in page
    form = {"org": orgs, "differing": ["group", "owner"], "group": "", "owner": ""}
    client.post("/orgs/details/", form)
    assert [stored(key) for key in keys] == [("production", ada), ("", None)]
    client.post("/orgs/details/", form | {"owner": "ada"})
    assert [stored(key) for key in keys] == [("production", ada), ("", ada)]


def test_an_owner_who_left_stays_when_the_form_changes_only_the_group(
    payments: Credential, ada: Person, grace: Person, root: Person, client_of: ClientOf
):
    key = org_of(payments)
    set_org_details(actor=command_actor(), orgs=[key], details={"owner": grace})
    disable_person(actor=person_actor(person=root), person=grace)
    page = read(client_of(ada).get(f"/orgs/details/?org={reference(key)}"))
    assert '<option value="grace" selected>' in page.html
    form = {"org": reference(key), "group": "production", "owner": "grace"}
    assert client_of(ada).post("/orgs/details/", form).status_code == 303
    assert stored(key) == ("production", grace)


def test_an_import_sets_what_each_line_says(
    payments: Credential,
    soc: Credential,
    ada: Person,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    file = tmp_path / "groups.csv"
    file.write_text(
        "\ufeffsite,org,group,owner,note\n"
        f"{payments.site},Payments US,production,ada,x\n"
        f"{soc.site},{soc.org_id},,,\n"
        f"{soc.site},Nobody,a,,\n"
        f"{soc.site},Group SOC,a,nobody,\n"
        f"{soc.site},Group SOC\n"
    )
    with pytest.raises(SystemExit, match="1"):
        call_command("import_org_groups", file=str(file), json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["set"] == [{"line": 2, "site": payments.site, "org": "Payments US"}]
    assert document["unchanged"] == [{"line": 3, "site": soc.site, "org": soc.org_id}]
    assert [(row["line"], row["error"]) for row in document["failed"]] == [
        (4, f"No org of {soc.site} has the ID or name “Nobody”."),
        (5, "No person has the username “nobody”."),
        (6, "It has another number of cells than the header."),
    ]
    assert stored(org_of(payments)) == ("production", ada)
    call_command("list_orgs", json=True)
    orgs = json.loads(capsys.readouterr().out)["orgs"]
    rows = {row["name"]: (row["group"], row["owner"]) for row in orgs}
    assert rows["Payments US"] == ("production", "ada")
    assert rows["Group SOC"] == (None, None)


def test_the_page_previews_an_import_of_groups_and_then_imports_the_same_lines(
    payments: Credential,
    soc: Credential,
    ada: Person,
    grace: Person,
    root: Person,
    client_of: ClientOf,
):
    disable_person(actor=person_actor(person=root), person=grace)
    lines = (
        "site,org,group,owner\n"
        f"{payments.site},Payments US,production,ada\n"
        f"{payments.site},Payments US,production,ada\n"
        f"{soc.site},Group SOC,,grace\n"
    )
    client = client_of(ada)
    import_url = read(client.get("/orgs/")).link("Import groups…")
    preview = read(client.post(import_url, {"csv": lines}))
    assert "1 org to set, 1 unchanged and 1 line with an error." in preview.text
    assert "Group none → production · Owner nobody → Ada" in preview.text
    assert "The account of Grace is disabled." in preview.text
    assert stored(org_of(payments)) == ("", None)
    done = read(client.post(import_url, {"csv": lines, "confirm": "yes"}))
    assert "1 org set, 1 unchanged and 1 line failed." in done.text
    assert stored(org_of(payments)) == ("production", ada)
    assert "Payments US" in read(client.get(done.link("Payments US"))).text


def test_lines_about_orgs_that_one_cannot_set_fail(
    payments: Credential, soc: Credential, ada: Person, root: Person
):
    let_only(root, credential=payments, kind=AccessKind.USE, actor=person_actor(person=root))
    lines = (
        f"site,org,group,owner\n{payments.site},{payments.org_id},a,\n{soc.site},{soc.org_id},b,\n"
    )
    for is_preview in (True, False):
        actor = person_actor(person=Person.objects.get(pk=ada.pk))
        result = import_org_groups(actor=actor, content=lines.encode(), is_preview=is_preview)
        assert [row["line"] for row in result.set] == [3]
        assert "permission" in result.failed[0]["error"]
    assert (stored(org_of(payments)), stored(org_of(soc))) == (("", None), ("b", None))


def test_lines_cost_no_statements_of_their_own(payments: Credential, soc: Credential):
    counts = []
    for number, credentials in enumerate(([payments], [payments, soc, payments])):
        lines = [f"{each.site},{each.org_id},{number},\n" for each in credentials]
        with CaptureQueriesContext(connection) as captured:
            import_org_groups(
                actor=command_actor(), content="".join(["site,org,group,owner\n", *lines]).encode()
            )
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_a_preview_builds_on_every_earlier_line(payments: Credential):
    set_org_details(actor=command_actor(), orgs=[org_of(payments)], details={"group": "prod"})
    start = f"{payments.site},{payments.org_id},"
    lines = [f"{start}staging,", *["nowhere,x,,"] * 100, f"{start}prod,"]
    content = "\n".join(["site,org,group,owner", *lines]).encode()
    for is_preview in (True, False):
        result = import_org_groups(actor=command_actor(), content=content, is_preview=is_preview)
        assert [row["line"] for row in result.set] == [2, 103]

"""Filters of a list: several values of one filter, and values that aren't valid."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.forms import CharField, ChoiceField, UUIDField
from django.test import Client
from django.utils.datastructures import MultiValueDict

from connections.core.any_of import AnyOf
from connections.inventory.filters import ConnectionFilters, parse_filter
from connections.models import Credential, Person
from sandbox.server import SandboxServer
from tests.flows.support import read, store_credential

ClientOf = Callable[[Person], Client]


def test_a_repeated_filter_matches_any_of_its_values():
    form = ConnectionFilters(MultiValueDict({"type": ["logs", "", "audit", "logs"]}))
    assert form.filters().connection_type == ("logs", "audit")
    filters, query = parse_filter("type=logs&type=audit&site=datadoghq.eu&page=2")
    assert filters.connection_type == ("logs", "audit")
    assert filters.site == ("datadoghq.eu",)
    assert query == "site=datadoghq.eu&type=logs&type=audit"


@pytest.mark.parametrize(
    ("each", "values"),
    [
        (ChoiceField(choices=[("a", "A")]), ["a", "b"]),
        (UUIDField(), ["0b7e3c1a-0000-4000-8000-0000000000aa", "x"]),
        (CharField(max_length=3), ["abc", "abcd"]),
        (CharField(), ["a\0"]),
        (CharField(), list(map(str, range(51)))),
    ],
)
def test_each_value_is_checked(each: Any, values: list[str]):
    with pytest.raises(ValidationError):
        AnyOf(each).clean(values)


@pytest.fixture
def labs(sandbox: SandboxServer, db: None) -> Credential:
    return store_credential(sandbox, "Labs EU")


@pytest.mark.usefixtures("labs")
def test_each_value_is_a_chip_with_the_address_without_it(client_of: ClientOf, ada: Person):
    bar = client_of(ada).get("/connections/?type=logs&type=audit&sort=-created").context["bar"]
    assert [(chip.value_label, chip.remove_url) for chip in bar.chips] == [
        ("logs", "/connections/?sort=-created&type=audit"),
        ("audit", "/connections/?sort=-created&type=logs"),
    ]
    [field] = [field for field in bar.fields if field.name == "type"]
    assert not {"logs", "audit"} & dict(field.groups[""]).keys()
    assert bar.clear_url == "/connections/?sort=-created"


@pytest.mark.parametrize("path", ["/deletions/", "/audit/"])
def test_the_history_and_the_audit_log_take_several_values(
    client_of: ClientOf, edith: Person, ada: Person, path: str
):
    query = {"/deletions/": f"person={ada.pk}&person={edith.pk}", "/audit/": "actor=a&actor=b"}
    response = client_of(edith).get(f"{path}?{query[path]}")
    bar = response.context["bar"]
    assert len(bar.chips) == 2
    assert [chip.remove_url for chip in bar.chips] == [
        f"{path}?{each}" for each in reversed(query[path].split("&"))
    ]
    # The field stays for one more.
    assert bar.chips[0].name in {field.name for field in (*bar.fields, *bar.more)}


@pytest.mark.usefixtures("labs")
@pytest.mark.parametrize(
    ("query", "problem", "chip"),
    [
        ("flag=nonsense", "Needs a look: Unknown value “nonsense”.", "nonsense"),
        ("flag=nonsense&view=matrix", "Needs a look: Unknown value “nonsense”.", "nonsense"),
        ("&".join(f"org={number}" for number in range(51)), "Org: Choose at most 50.", "51 values"),
        ("created=-5", "Created: Unknown value “-5”.", "-5"),
        ("q=" + 8000 * "x", "Org, creator, ID: Enter at most 200 characters.", None),
    ],
)
def test_a_filter_that_cannot_be_used_lists_nothing(
    client_of: ClientOf, ada: Person, query: str, problem: str, chip: str | None
):
    response = client_of(ada).get(f"/connections/?type=logs&{query}&sort=-created")
    page = read(response)
    assert "Nothing is listed, because a filter can't be used" in page.text
    assert problem in page.text
    assert "data-connection" not in page.html
    assert 'class="selection-bar"' not in page.html
    assert len(page.html) < 40_000
    # The other filter can be removed without this one, which isn't posted again.
    bar = response.context["bar"]
    [usable, *unusable] = sorted(bar.chips, key=lambda each: each.is_unusable)
    assert [each.value_label for each in unusable] == ([chip] if chip else [])
    assert usable.remove_url.startswith("/connections/?")
    assert query not in usable.remove_url
    for each in unusable:
        assert each.is_unusable
        assert f'type="hidden" name="{each.name}"' not in page.html
    assert client_of(ada).get(f"/connections/export/?{query}").status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/deletions/?since=yesterday",
        "/deletions/?view=chart&status=x",
        "/changes/?kind=x",
        "/audit/?deletion=x",
        "/orgs/?q=" + 201 * "x",
    ],
)
def test_every_list_shows_nothing_for_a_filter_that_cannot_be_used(
    client_of: ClientOf, edith: Person, path: str
):
    assert "Nothing is listed, because a filter can't be used" in client_of(edith).get(path).text

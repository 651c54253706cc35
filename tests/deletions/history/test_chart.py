"""The chart of the history: the same deletions as the list, by week or month."""

import re

import pytest
from django.test import Client

from connections.models import AccessKind, Credential, CredentialAccess, Outcome, Person, State
from tests.deletions.history.conftest import Make
from tests.deletions.history.test_pages import ClientOf, body_of

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=3)]

WEEK = 7 * 24 * 60
OPEN = {"state": State.WAITING, "outcome": "", "settled_at": None}


def table(client: Client, query: str = "") -> dict[str, list[str]]:
    """The numbers of the chart's table by its first column, the head included."""
    page = body_of(client, f"/deletions/?view=chart&{query}")
    _, _, rest = page.partition("<table")
    rows = re.findall(r"<tr>(.*?)</tr>", rest.partition("</table>")[0], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(?:<a[^>]*>)?([^<]*)", row) for row in rows]
    return {first: others for first, *others in cells}


def test_the_chart_has_the_numbers_of_the_list_by_week(
    client_of: ClientOf, victor: Person, make: Make
):
    make()
    make(outcome=Outcome.REFUSED)
    make(minute=2 * WEEK)
    make(minute=2 * WEEK, **OPEN)
    client = client_of(victor)
    # START is a Thursday.
    assert table(client) == {
        "Week of (UTC)": ["Deleted", "Failed", "Open", "All"],
        "12 Jan 2026": ["1", "0", "1", "2"],
        "5 Jan 2026": ["0", "0", "0", "0"],
        "29 Dec 2025": ["1", "1", "0", "2"],
    }
    page = body_of(client, "/deletions/?view=chart")
    assert "4 deletions" in page
    assert page.count("<rect") == 4
    [week] = re.findall(r'href="([^"]+)">29 Dec 2025', page)
    found = body_of(client, week.replace("&amp;", "&"))
    assert "2 deletions" in found


def test_a_long_period_is_shown_by_month(client_of: ClientOf, victor: Person, make: Make):
    make()
    make(minute=40 * WEEK)
    months = table(client_of(victor))
    assert months["January 2026"] == months["October 2026"] == ["1", "1"]
    assert len(months) == 11


def test_the_legend_filters_and_says_what_is_filtered(
    client_of: ClientOf, victor: Person, make: Make
):
    make()
    make(**OPEN | {"state": State.UNKNOWN})
    make(outcome=Outcome.UNRESOLVED)
    client = client_of(victor)
    page = body_of(client, "/deletions/?view=chart")
    [url] = re.findall(r'class="chip" href="([^"]+status=unknown[^"]*)"', page)
    query = url.partition("?")[2].replace("&amp;", "&")
    assert table(client, query)["29 Dec 2025"] == ["2", "2"]
    assert 'class="chip chip-set"' in body_of(client, f"/deletions/?{query}")


@pytest.mark.parametrize(
    ("query", "count"),
    [("org=datadoghq.eu/org-payments", 2), ("q=quarterly", 1), ("status=refused", 1), ("", 3)],
)
def test_the_chart_counts_what_the_filters_find(
    client_of: ClientOf, victor: Person, make: Make, query: str, count: int
):
    make(sink_org_id="org-payments")
    make(reason="Quarterly review")
    make(source_org_id="org-labs", outcome=Outcome.REFUSED)
    [numbers] = [row for name, row in table(client_of(victor), query).items() if "2025" in name]
    assert numbers[-1] == f"{count}"


def test_the_chart_counts_nothing_that_is_hidden(
    client_of: ClientOf, victor: Person, ada: Person, make: Make, credential: Credential
):
    make()
    CredentialAccess.objects.create(credential=credential, kind=AccessKind.SEE, person=ada)
    assert table(client_of(victor)) == {}

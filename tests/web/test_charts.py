"""Charts of counts, with their legends and tables."""

from django.template.loader import render_to_string

from connections.core.days import daily_counts
from connections.web.charts import OUTCOME_SERIES, build_day_chart


def test_every_count_of_a_chart_has_a_thousands_separator() -> None:
    days = daily_counts([("2026-11-27", "deleted", 1042)], limit=10_000)
    chart = build_day_chart(days, what="Deletions", series=OUTCOME_SERIES)
    html = render_to_string("connections/components/day_chart.html", {"chart": chart})
    # In the legend, in the bar's title, and in the table's columns for the outcome and for all.
    assert html.count("1,042") == 4
    assert "1042" not in html

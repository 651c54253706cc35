"""docs/PERFORMANCE.md shows what `./run bench` measured."""

from benchmarks import report
from benchmarks.rows import ROWS


def test_every_table_and_plot_is_that_of_the_stored_results():
    results = report.load()
    assert set(results) <= set(ROWS)
    document = report.DOCUMENT.read_text()
    assert report.render(document, results) == document
    for number, result in results.items():
        plot = report.DIRECTORY / f"row-{number}.svg"
        assert plot.read_text() == report.draw(result.lines, title=ROWS[number].title)

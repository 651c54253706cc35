"""Reading the links of a page with all their words."""

import re
from html import unescape

_LINK = re.compile(r'<a\b[^>]*?href="([^"]*)"[^>]*>(.*?)</a>', re.DOTALL)


def links_in(html: str) -> list[tuple[str, str]]:
    """Where each link leads, and its words as a person reads them."""
    return [(unescape(href), _words(words)) for href, words in _LINK.findall(html)]


def link_called(html: str, words: str) -> str:
    """Where the one link with these words leads."""
    [href] = {href for href, text in links_in(html) if text == words}
    return href


_PAIR = re.compile(
    r'<th class="cell-org" scope="row"[^>]*>(.*?)</th>.*?<td class="cell-org"[^>]*>(.*?)</td>',
    re.DOTALL,
)


def rows_in(html: str) -> list[str]:
    """The connections listed, in order, as "source → destination"."""
    return [f"{_words(source)} → {_words(sink)}" for source, sink in _PAIR.findall(html)]


def _words(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())

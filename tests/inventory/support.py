"""Reads the links and rows of a page with their full text."""

import re
from html import unescape

_LINK = re.compile(r'<a\b[^>]*?href="([^"]*)"[^>]*>(.*?)</a>', re.DOTALL)


def links_in(html: str) -> list[tuple[str, str]]:
    """Each link's address and visible text."""
    return [(unescape(href), _visible_text(words)) for href, words in _LINK.findall(html)]


def link_with_text(html: str, words: str) -> str:
    """The address of the one link with this text."""
    [href] = {href for href, text in links_in(html) if text == words}
    return href


_PAIR = re.compile(
    r'<th class="cell-org" scope="row"[^>]*>(.*?)</th>.*?<td class="cell-org"[^>]*>(.*?)</td>',
    re.DOTALL,
)


def rows_in(html: str) -> list[str]:
    """The connections listed, in order, as "source → destination"."""
    return [
        f"{_visible_text(source)} → {_visible_text(sink)}" for source, sink in _PAIR.findall(html)
    ]


def _visible_text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())

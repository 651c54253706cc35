"""So many of something."""


def pluralize(number: int, noun: str) -> str:
    """“1 event”, “1,042 events”: for nouns that take an s."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

"""Where Chromium is."""

import shutil

# Without windows it needs half the processor time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")


def find_chromium() -> str | None:
    """The path of Chromium, or None where it is not installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)

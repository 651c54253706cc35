"""Where Chromium is."""

import shutil

# The headless shell needs half the processor time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser")


def find_chromium() -> str | None:
    """The path of Chromium, or None if it isn't installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)

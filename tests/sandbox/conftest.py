"""The fixture that serves a small Datadog."""

from tests.support.sandbox import sandbox

__all__ = ["sandbox"]

"""The fixture `sandbox` without Org Admin's settings."""

from tests.support.sandbox import sandbox

__all__ = ["sandbox"]

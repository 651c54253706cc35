"""Deletions for events to be about, and migrated databases to copy."""

from tests.deletions.history.conftest import credential, make
from tests.support.databases import postgresql_template, postgresql_url, sqlite_template

__all__ = ["credential", "make", "postgresql_template", "postgresql_url", "sqlite_template"]

"""Databases that real processes share."""

from tests.support.databases import (
    postgresql_template,
    postgresql_url,
    shared_database,
    sqlite_template,
)

__all__ = ["postgresql_template", "postgresql_url", "shared_database", "sqlite_template"]

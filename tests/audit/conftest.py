"""A PostgreSQL of one's own, for a role that owns nothing, and migrated databases to copy."""

from tests.support.databases import postgresql_template, postgresql_url, sqlite_template

__all__ = ["postgresql_template", "postgresql_url", "sqlite_template"]

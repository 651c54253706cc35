"""A PostgreSQL of one's own, for a role that owns nothing."""

from tests.support.databases import postgresql_template, postgresql_url

__all__ = ["postgresql_template", "postgresql_url"]

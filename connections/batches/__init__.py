"""Bulk deletions: planning, requesting, deciding and running many deletions as one."""

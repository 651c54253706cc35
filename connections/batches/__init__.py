"""Bulk deletions: planning, requesting, approving and running many deletions as one."""

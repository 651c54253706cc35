"""Keeping the service itself well: what is due, backups, keys, and what is wrong."""

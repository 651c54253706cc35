"""Org Admin: lists, reviews and deletes Datadog org connections, and records each deletion."""

__version__ = "1.3.0"

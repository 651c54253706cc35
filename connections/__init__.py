"""Org Admin: lists, reviews and deletes Datadog org connections, and records each deletion."""

__version__ = "0.2.0"

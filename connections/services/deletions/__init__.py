"""Asking for a deletion, deciding on it, sending it, and finding out what became of it."""

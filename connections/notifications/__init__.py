"""Delivers notifications by email, webhook and file."""

"""Delivers notifications by mail, webhook and file."""

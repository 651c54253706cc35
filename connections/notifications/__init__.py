"""Delivers notifications by email, webhook and file. audit/outbox.py decides who gets which."""

"""Delivers notifications by email, webhook and file. notification_queue/ decides who gets which."""

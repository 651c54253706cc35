"""Deletions, from request to outcome, and their history."""

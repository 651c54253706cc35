"""Bulk deletions: plans, requests, decisions and the run."""

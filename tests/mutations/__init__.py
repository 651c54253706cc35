"""Safeguards removed one by one, to show that each is needed: `python -m tests.mutations`."""

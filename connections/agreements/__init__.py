"""Agreements: who answers for the access of each pair of orgs, for what, and until when."""

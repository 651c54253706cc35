"""Verification of the audit log, here and, with evidence bundles, offline."""

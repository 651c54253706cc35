"""Verifies evidence bundles offline, with only the standard library. Shipped as verify.pyz."""

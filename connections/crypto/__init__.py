"""Encryption of secrets in the database, and the key ring."""

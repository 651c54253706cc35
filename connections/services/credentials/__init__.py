"""The key pairs of orgs: keeping them, trying them, and who may use which."""

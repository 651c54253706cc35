"""Evidence bundles that an auditor verifies offline."""

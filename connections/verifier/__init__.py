"""The reference verifier of evidence bundles: one file, standard library only."""

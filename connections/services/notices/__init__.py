"""Telling people and systems outside of what happened."""

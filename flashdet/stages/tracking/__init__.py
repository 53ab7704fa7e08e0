"""Acceptance and smearing of tracks by lookup tables."""

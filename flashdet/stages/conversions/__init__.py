"""Photon conversions in the material of a tracker layout."""

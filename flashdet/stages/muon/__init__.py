"""Muon identification behind an absorber, by maps or by a model."""

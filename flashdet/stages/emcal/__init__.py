"""Electromagnetic calorimeter: deposits, clusters, matching to tracks, hypotheses."""

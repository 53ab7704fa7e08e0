"""Ring-imaging Cherenkov detectors: geometry, light, rings, hypotheses."""

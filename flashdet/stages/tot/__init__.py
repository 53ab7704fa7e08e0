"""Energy loss in silicon: crossings, straggling, truncated means, hypotheses."""

"""Pages about outputs: one HTML file with the plots that people look at first."""

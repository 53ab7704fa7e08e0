"""Lookup tables: axes, tables, files, and the analytic tracker that builds them."""

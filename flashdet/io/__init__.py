"""Readers and writers: files to columns and back. They know columns, not stages."""

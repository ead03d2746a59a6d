"""Readers, one file per published format."""

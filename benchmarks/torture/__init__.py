"""Fault injection: every command ends in one line, and the same command afterwards gives the same result."""

"""Recipes and options: strict pydantic models, their defaults and their errors. No torch."""

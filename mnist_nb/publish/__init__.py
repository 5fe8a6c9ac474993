"""Notebooks kept in one form, and held to what they show."""

"""Notebooks run with parameters, and the records that they leave."""

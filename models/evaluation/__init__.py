"""Splits, protocols and metrics."""

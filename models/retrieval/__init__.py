"""Exact top-K lists, kept up to date, and new rows folded into a kept model."""

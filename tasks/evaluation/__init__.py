"""Splits, figures of one system, comparisons of many, and tuning."""

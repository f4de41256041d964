"""Exact top-K lists, updated incrementally, and new users and images folded into a kept model."""

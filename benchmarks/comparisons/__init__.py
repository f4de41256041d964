"""The source of docs/results.md: the comparisons that it plans, the finished runs of each, and the page as text."""

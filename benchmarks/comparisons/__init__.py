"""What docs/results.md is written from: the comparisons it asks for, those found, and the page of them."""

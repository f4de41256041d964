"""A fitted system, its published model, and lists of recommended and of similar images."""

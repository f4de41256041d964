"""A system fitted, its model, and the lists made from it."""

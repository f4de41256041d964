"""Forgetting people and images, redaction, retention."""

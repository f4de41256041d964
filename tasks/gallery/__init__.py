"""The gallery: published runs to look at, as pages and a JSON API; a root is only read."""

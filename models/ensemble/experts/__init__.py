"""Views of taste that `models.systems.tastegraph` mixes: each is a product of a matrix of users and one of images."""

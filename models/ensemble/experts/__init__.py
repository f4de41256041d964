"""The members of the ensemble: each scores by the product of a matrix of users and one of images."""

"""Content of images and profiles of users: features, visual words, learned metrics, clusters, profiles."""

"""What images and users are like: features, visual words, learned metrics, clusters, profiles."""

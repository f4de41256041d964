"""CDL's audited chain: inputs, signals, negatives, triplets, training, embeddings."""

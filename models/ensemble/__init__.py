"""Our own weighted linear ensemble: experts and the weights learned for them."""

"""The weighted linear ensemble of the system `tastegraph`: its experts, and the weights learned for them."""

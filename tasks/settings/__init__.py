"""The settings of each component, in a module of the name of the one that it sets: plain values, no library."""

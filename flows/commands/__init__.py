"""The commands of `tastegraph`; `flows/cli.py` lists them."""

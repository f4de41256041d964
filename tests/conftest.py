"""For every test: one thread for arithmetic. The tests' matrices are tiny, and threads that wait for each other on a
shared machine made the training tests fifty times slower. Set here because torch reads it when it is first imported."""

import os

os.environ["OMP_NUM_THREADS"] = "1"

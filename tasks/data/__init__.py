"""A source to tables, pixels, vectors and profiles, and the favorites concealed for the test."""

"""What the command line prints: tables for a person, JSON for a program."""

"""The end of a night: what it starts from, its records, the gate, the report, the snapshot."""

"""What a run did, for the tools of a company: traces, experiments, lineage. Each is an extra and is off by default."""

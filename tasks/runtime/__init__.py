"""What makes a function a stage: cache keys, records, the ledger, progress, run ids."""

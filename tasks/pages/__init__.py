"""Reports as HTML; rendering only."""

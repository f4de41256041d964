"""Every table of the pipeline: its columns, its key, and what one row means, in a module for each part of the pipeline.

A stage's cache key covers the modules that it imports, so a stage imports the schemas that it reads and writes and no
others. `docs/tables.md` is generated from these modules. A change to a table of the source contract or of the export
changes a public interface: raise SCHEMA_VERSION, and say so in CHANGELOG.md.
"""

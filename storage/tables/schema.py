"""What a table is, the columns that many tables share, and the version of all schemas."""

from dataclasses import dataclass, replace

import pyarrow as pa

# Raise it when a table of the source contract or of the export changes, and say so in CHANGELOG.md.
SCHEMA_VERSION = "1"

STRINGS = pa.list_(pa.string())
TIME = pa.timestamp("s", "UTC")
VECTOR = pa.list_(pa.float32())


@dataclass(frozen=True)
class Table:
    """A table's contract. Rows are unique by `key`, and files are sorted by it."""

    name: str
    key: tuple[str, ...]
    doc: str
    schema: pa.Schema

    def with_dimensions(self, num_dimensions: int) -> "Table":
        """This table with every vector column a fixed-size list of `num_dimensions` float32."""
        fields = [
            field.with_type(pa.list_(pa.float32(), num_dimensions)) if field.type == VECTOR else field
            for field in self.schema
        ]
        return replace(self, schema=pa.schema(fields))


def column(name: str, type_: pa.DataType, doc: str, *, optional: bool = False) -> pa.Field:
    """A column with its meaning, which `docs/tables.md` shows."""
    return pa.field(name, type_, nullable=optional, metadata={"doc": doc})


def table(name: str, key: tuple[str, ...], doc: str, *columns: pa.Field) -> Table:
    """The contract of a table with these columns."""
    return Table(name, key, doc, pa.schema(columns))


USER_ID = column("user_id", pa.string(), "the source's id of the user")
IMAGE_ID = column("image_id", pa.string(), "the source's id of the image")
TAG = column("tag", pa.string(), "the tag as the source writes it")
MODEL = column("model", pa.string(), "the system that computed the row, and the first digits of its state's digest")

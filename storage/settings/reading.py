"""Settings of tables: the largest that are read."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TableLimits:
    """The largest tables that are read."""

    max_rows: int = 100_000_000  # of one table; a larger one is refused
    max_bytes: int = 16 * 2**30  # of one table, unpacked
    encoding: str = "utf-8"  # of CSV and JSON files that are not UTF-8, such as cp1252
    max_text_bytes: int = 4096  # of an id, tag, name, path or url; longer ones are quarantined

    def __post_init__(self) -> None:
        try:
            b"".decode(self.encoding)
        except LookupError as error:
            raise ValueError(
                f"ingest.encoding is {self.encoding!r}, which does not exist; write cp1252, for example"
            ) from error

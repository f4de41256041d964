"""What is in quarantine and what to do about it: by table and reason the count, the first rows, the way out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

DANGLING = "dangling reference"
SHOWN_ROWS = 3  # of each reason
ADVICE = {
    "missing id": "give every row its ids, or leave the row out",
    "missing event": "write what the user did: like, favorite, save, view or hide",
    "unknown event": "write like, favorite, save, view or hide",
    "bad weight": "write a number, or leave the cell empty",
    "missing tag": "write a tag, or leave the row out",
    "dangling reference": "add the id to its table, or correct it: ids are compared letter by letter",
    "duplicate id": "keep one row for each id",
    "self reference": "leave out rows in which a user follows themselves",
    "unreadable time": "write times as 2024-02-29T12:30:00Z or as epoch seconds",
    "bad count": "write a whole number from 1",
    "bad url": "write an address that begins with http:// or https://",
    "bad feature": "write a list of finite numbers, of one length in the whole table",
    "url in path": "set images.fetch=true to have pictures fetched, or put addresses into the column url",
    "path outside the source directory": "write paths relative to the source directory, with / between the parts",
    "unknown kind": "write user or image",
    "text too long": "shorten it, or raise ingest.max_text_bytes",
    "inexact number": "write ids as text or whole numbers, not as floating-point numbers",
    "unreadable row": "write the row as the others, with as many cells as the header",
    "not found": "correct the address: the host knows none such",
    "no http address": "correct the address",
    "no picture's content type": "write the picture's own address, not that of a page that shows it",
    "private address": "write an address that anybody can reach, or put the file into the source",
    "too many redirects": "write the address that it leads to",
    "lying content length": "the host breaks off; the next night asks again",
    "slower than timeout_s": "the next night asks again; raise fetch.timeout_s if the host is slow",
    "host left alone": "its last pictures failed; the next night asks again",
    "ConnectError": "there is no such host, or it does not answer; the next night asks again",
    "no file": "put the file there, or correct path: capital letters count",
    "unreadable file": "let this user read the file",
    "empty file": "fetch the picture again",
    "truncated": "fetch the picture again",
    "damaged": "fetch the picture again",
    "not an image": "convert it to JPEG, PNG, GIF, WebP, BMP, TIFF or AVIF",
    "too many bytes": "shrink the picture, or raise images.max_bytes",
    "too many pixels": "shrink the picture, or raise images.max_pixels",
    "too many scans": "save the picture anew, or raise images.max_scans",
}
# What the first values tell besides, by reason: the first advice whose pattern fits them all.
SIGNS: dict[str, list[tuple[str, str]]] = {
    "dangling reference": [
        (r"\.0+$", "ids end in .0, as pandas writes a column with an empty cell: write whole numbers, as in its table"),
        (r"^\s|\s$", "ids have spaces around them: take them out"),
    ],
    "unreadable time": [
        (r"^\d{13}$", "these may be milliseconds: divide them by 1000"),
        (r"^\d{16}$", "these may be microseconds: divide them by 1,000,000"),
        (r"^\d{4}$|^\d{6}$", "a year or a month alone is no time: write a whole date"),
    ],
    "path outside the source directory": [(r"\\", "write / in place of the backslash")],
    "unreadable row": [
        (r"\\x[89a-f][0-9a-f]", "this is not UTF-8: save the file as UTF-8, or name it in ingest.encoding"),
        (r'\\"', 'a quote is escaped by a backslash: write it twice, ""'),
        (r"^\s*[\[{]", "write JSON objects whose cells are text or numbers, not lists or objects"),
    ],
}


@dataclass(frozen=True)
class Finding:
    """One reason for which rows of a table, or pictures, were kept out."""

    table: str
    reason: str
    count: int
    first: Sequence[dict[str, int | str | None]]  # of the quarantine: row, value, text
    advice: str

    @property
    def example(self) -> str:
        """The first row and its value, for a sentence; empty where neither is known."""
        row, value, text = (self.first[0][name] for name in ("row", "value", "text"))
        shown = text if value is None else value
        parts = [f"row {row}" if row is not None else "", repr(shown) if shown is not None else ""]
        return ": ".join(part for part in parts if part)


def findings(quarantine: pl.DataFrame) -> list[Finding]:
    """What a table of the form QUARANTINE holds, by table and reason; references last, as they may be consequences."""
    order = [pl.col("reason") == DANGLING, "table", "reason", "row"]
    grouped = quarantine.sort(order).group_by("table", "reason", maintain_order=True)
    return [
        Finding(table, reason, len(rows), first := rows.head(SHOWN_ROWS).to_dicts(), _advice(reason, first))
        for (table, reason), rows in ((key, rows.select("row", "value", "text")) for key, rows in grouped)
    ]


def _advice(reason: str, first: Sequence[dict[str, int | str | None]]) -> str:
    values = [str(row["value"]) for row in first if row["value"] is not None]
    for pattern, advice in SIGNS.get(reason, []):
        if values and all(re.search(pattern, value) for value in values):
            return advice
    return ADVICE.get(reason, "correct the source")

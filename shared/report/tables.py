"""Rows of many pictures as tables. Columns come in the order of their first appearance."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from shared.report.rows import Row

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a formula may begin with


def columns_of(rows: Sequence[Row]) -> list[str]:
    """The columns of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(column for row in rows for column in row))


def csv_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The lines of a CSV file; lists are joined by blanks, what is missing is empty. The name of a file may be a
    stranger's: a text that a spreadsheet would take for a formula has an apostrophe before it, which is not shown."""
    columns = columns_of(rows)
    for line in [columns, *([_text(row.get(column)) for column in columns] for row in rows)]:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\r\n").writerow(line)  # by which it knows what is to be quoted
        yield f"{buffer.getvalue()[:-2]}\n"


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(f"{one:.6g}" for one in value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

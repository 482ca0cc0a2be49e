"""Rows of many pictures as tables. Columns come in the order of their first appearance."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from shared.report.rows import Row


def columns_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def csv_lines(rows: Sequence[Row]) -> Iterator[str]:
    """The lines of a CSV file; lists are joined by blanks, what is missing is empty."""
    columns = columns_of(rows)
    for line in [columns, *([_text(row.get(column)) for column in columns] for row in rows)]:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerow(line)
        yield buffer.getvalue()


def _text(value: Any) -> Any:
    return " ".join(f"{one:.6g}" for one in value) if isinstance(value, list) else value

"""Prints the rows of a Delta table as sorted JSON lines, read with a Delta reader that is not Memoir's own.

    read_audit.py TABLE [COLUMN-TO-LEAVE-OUT ...]

Two tables that print the same hold the same rows, whatever files and commits they lie in.
"""

import json
import os
import sys
from datetime import datetime, timezone

from deltalake import DeltaTable


def plain(value):
    """A value as JSON can hold it: times in UTC with all six digits."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=timezone.utc)
        return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value


def main():
    table, left_out = sys.argv[1], set(sys.argv[2:])
    content = DeltaTable(table).to_pyarrow_table()
    unknown = left_out - set(content.column_names)
    if unknown:
        sys.exit(f"{table} has no column {', '.join(sorted(unknown))}")
    content = content.select([name for name in content.column_names if name not in left_out])
    lines = []
    for batch in content.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            row = {name: plain(value) for name, value in row.items()}
            lines.append(json.dumps(row, ensure_ascii=False, separators=(",", ":")))
    lines.sort()
    sys.stdout.reconfigure(encoding="utf-8")
    for line in lines:
        print(line)
    # All is read and written. Arrow's threads sometimes abort the process while the interpreter takes itself down.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

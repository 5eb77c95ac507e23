"""How many bytes a reading takes in Parquet: the peer of `cargo bench --bench log`.

    cargo bench --bench log -- csv=/tmp/w1.csv
    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install pyarrow
    /tmp/peers/bin/python benches/peers/parquet_size.py /tmp/w1.csv

Reads a table of sensor, event_ms, revision, value, quality; writes it with pyarrow's defaults, with a row group a second
of arrival (as many rows as a log's frame has), and with the encodings a careful user would choose. What it writes it
reads back and compares.
"""

import os
import sys
import tempfile

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

TYPES = {"sensor": pa.uint32(), "event_ms": pa.int64(), "revision": pa.uint16(), "value": pa.int64(), "quality": pa.uint8()}
# What a reading takes as a record of W1: ts_ms 8, value 4, sensor 4, arr_ms 4, quality, kind, padding 4.
RAW = 24
TUNED = {"event_ms": "DELTA_BINARY_PACKED", "value": "DELTA_BINARY_PACKED", "sensor": "DELTA_BINARY_PACKED"}


def main(path):
    table = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=TYPES))
    print(f"pyarrow {pa.__version__}, {table.num_rows:,} rows; raw {RAW} bytes a row")
    variants = [
        ("defaults", {}),
        ("10,000 rows a group", {"row_group_size": 10_000}),
        ("delta columns", {"row_group_size": 10_000, "use_dictionary": ["revision", "quality"], "column_encoding": TUNED}),
    ]
    for name, options in variants:
        for compression in ("none", "snappy", "zstd"):
            with tempfile.TemporaryDirectory() as folder:
                file = os.path.join(folder, "rows.parquet")
                pq.write_table(table, file, compression=compression, **options)
                if not pq.read_table(file).equals(table):
                    sys.exit(f"{name}, {compression}: other rows came back")
                print(f"{name:<22} {compression:<7} {os.path.getsize(file) / table.num_rows:6.2f} bytes a row")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

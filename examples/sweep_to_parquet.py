"""Sweep networks, and write the verdicts to a Parquet file, some thousands at a time.

    python sweep_to_parquet.py verdicts.parquet 10.0.0.0/16

Needs pyarrow, and the rights for a sweep (docs/deploy.md).
"""

import argparse
import sys

import fastnet
from fastnet.errors import FastnetError, InvalidArgument, NameNotResolved

try:
    import pyarrow
    from pyarrow.parquet import ParquetWriter
except ModuleNotFoundError:
    print("the Python package pyarrow is missing: pip install pyarrow", file=sys.stderr)
    sys.exit(3)

SCHEMA = pyarrow.schema(
    {"address": "string", "state": "string", "rtt_ms": "float32", "reason": "string", "mac": "string"}.items()
)
ROWS = 1 << 16


def write(path: str, result: fastnet.SweepResult) -> None:
    with ParquetWriter(path, SCHEMA) as writer:
        for begin in range(0, len(result), ROWS):
            rows = [verdict.as_dict() for verdict in result[begin : begin + ROWS]]
            writer.write_batch(pyarrow.RecordBatch.from_pylist(rows, SCHEMA))


def main() -> None:
    parser = argparse.ArgumentParser(description="Sweep networks, and write the verdicts to a Parquet file.")
    parser.add_argument("path", help="file to write")
    parser.add_argument("targets", nargs="+", metavar="target", help="address, prefix, range or name")
    args = parser.parse_args()
    try:
        result = fastnet.sweep(args.targets, timeout=0.5)
        write(args.path, result)
    except (InvalidArgument, NameNotResolved) as error:
        parser.error(str(error))
    except (FastnetError, OSError) as error:
        parser.exit(3, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        sys.exit(130)
    print(f"{result.counts.alive} of {len(result)} are alive")


if __name__ == "__main__":
    main()

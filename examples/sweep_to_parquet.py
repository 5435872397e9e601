"""Sweep a network, and keep the verdicts as a Parquet file, without an object for each address.

    python sweep_to_parquet.py 10.0.0.0/16 verdicts.parquet

Needs pyarrow.
"""

import sys

import pyarrow as pa
import pyarrow.parquet

import fastnet
from fastnet.targets import Targets


def main() -> None:
    targets, path = Targets(sys.argv[1]), sys.argv[2]
    result = fastnet.sweep(targets, timeout=0.5)
    table = pa.table(
        {
            "address": pa.array(map(str, targets)),
            "state": pa.array([verdict.state for verdict in result]),
            "rtt_ms": pa.array(result.rtts_ms, type=pa.float32(), mask=None),
        }
    )
    pyarrow.parquet.write_table(table, path)
    print(f"{result.counts.alive} of {len(targets)} are alive")


if __name__ == "__main__":
    main()

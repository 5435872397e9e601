"""How long a program takes to end at Ctrl-C: ``python -m bench._interrupted SECONDS WORDS...``.

It prints the time from SIGINT, after so many seconds, to the end; the exit status; and whether there was a
summary.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from tempfile import TemporaryFile


def main(after: str, *words: str) -> None:
    with TemporaryFile() as told, TemporaryFile() as remarks:
        process = subprocess.Popen(words, stdout=told, stderr=remarks)
        time.sleep(float(after))
        if process.poll() is not None:
            sys.exit(f"it ended before it was interrupted, with exit status {process.returncode}")
        began = time.perf_counter()
        process.send_signal(signal.SIGINT)
        status = process.wait()
        took = time.perf_counter() - began
        remarks.seek(0)
        summary = b" alive" in remarks.read()
    print(json.dumps({"seconds": took, "status": status, "summary": summary}))


if __name__ == "__main__":
    main(*sys.argv[1:])

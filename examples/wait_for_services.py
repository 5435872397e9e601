"""Start only when a database port and a web service are really ready.

python wait_for_services.py localhost:5432 http://localhost:8000/health
"""

import argparse
import sys

import fastnet
from fastnet.errors import FastnetError, InvalidArgument, NameNotResolved, WaitTimeout


def main() -> None:
    parser = argparse.ArgumentParser(description="Wait until services are ready, 30 seconds at most.")
    parser.add_argument("services", nargs="+", metavar="service", help="HOST:PORT or http://HOST[:PORT]/path")
    args = parser.parse_args()
    try:
        for ready in fastnet.wait_all(args.services, timeout=30):
            print(f"{ready.target} after {ready.attempts} attempts", flush=True)
    except WaitTimeout as error:
        parser.exit(124, f"{parser.prog}: error: {error}\n")
    except (InvalidArgument, NameNotResolved) as error:
        parser.error(str(error))
    except (FastnetError, OSError) as error:
        parser.exit(3, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

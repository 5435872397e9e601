"""Start only when a database port and a web service are really ready.

python wait_for_services.py localhost:5432 http://localhost:8000/health
"""

import sys

import fastnet
from fastnet.errors import WaitTimeout

try:
    for ready in fastnet.wait_all(sys.argv[1:], timeout=30):
        print(f"{ready.target} after {ready.attempts} attempts")
except WaitTimeout as error:
    sys.exit(str(error))

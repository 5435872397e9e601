"""The client's connection to a Dask scheduler, which may restart."""

import ssl
from collections.abc import Iterator

from fastnet._limits import check_text, quoted, several
from fastnet._reference import reference
from fastnet._typing import Any
from fastnet.errors import InvalidArgument

_FILES = 3
_CONNECT_SECONDS = 10.0
_AGAIN_SECONDS = 2.0
_MOST_TTL = 60.0
"""A scheduler's ``worker-ttl`` in seconds, above which a worker that hangs is detected late."""


class Connection:
    """A given Dask client, or a new one for a scheduler's address; only the latter is closed.

    A client ends when its scheduler does, and does not reconnect: then a new one is made.
    """

    def __init__(self, client: Any, tls: tuple[str, str, str] | None = None) -> None:
        self._module = reference("distributed")
        self.killed_worker: type[Exception] = self._module.KilledWorker
        self._security, self._is_ours = None, True
        if isinstance(client, self._module.Client):
            if client.status == "closed":
                raise InvalidArgument("client: it is closed")
            self._address, self._security = client.scheduler.address, client.security
            # An event loop's client can't be waited for from a thread.
            self._is_ours = bool(client.asynchronous)
        else:
            check_text("client", client)
            self._address = client
            if tls:
                authority, certificate, key = _checked_files(client, tls)
                self._security = self._module.Security(
                    tls_ca_file=authority,
                    tls_client_cert=certificate,
                    tls_client_key=key,
                    require_encryption=True,
                )
        self.client: Any = self._opened(_CONNECT_SECONDS) if self._is_ours else client

    def is_up(self) -> bool:
        """Whether the scheduler is connected; makes a new client if the present one is closed."""
        if self.client.status == "closed":
            try:
                self.client, self._is_ours = self._opened(_AGAIN_SECONDS), True
            except OSError:
                return False
        return bool(self.client.status == "running")

    def close(self) -> None:
        if self._is_ours:
            self.client.close(timeout=_AGAIN_SECONDS)

    def limit_notes(self) -> Iterator[str]:
        """The consequences of the scheduler's settings that differ from those in ``docs/scale.md``."""
        failures, ttl = self.client.run_on_scheduler(_limits)
        if failures < 1:
            yield "the scheduler's allowed-failures is 0: the client submits a killed worker's shard again"
        if ttl is None or ttl > _MOST_TTL:
            late = "never" if ttl is None else f"after {ttl:g} s"
            yield f"the scheduler's worker-ttl: a worker that hangs is noticed {late}; 30s is better"

    def _opened(self, seconds: float) -> Any:
        try:
            return self._module.Client(
                self._address, security=self._security, timeout=seconds, set_as_default=False
            )
        except ValueError as error:
            raise InvalidArgument(f"scheduler {quoted(self._address)}: {error}") from None
        except TypeError:
            needed = "TLS needs the files of an authority, a certificate and its key"
            raise InvalidArgument(f"scheduler {quoted(self._address)}: {needed}") from None
        except ssl.SSLError as error:
            raise InvalidArgument(f"scheduler {quoted(self._address)}: {error}") from None
        except OSError as error:
            # Dask's own error leaves out why: refused, or a name that does not resolve.
            raise OSError(": ".join((str(error), *_root_of(error)))) from None


def _root_of(error: BaseException) -> Iterator[str]:
    """What an error ultimately came from, if from another one."""
    root = error
    while root.__cause__:
        root = root.__cause__
    if root is not error:
        yield getattr(root, "strerror", None) or str(root)


def _checked_files(address: str, files: tuple[str, str, str]) -> tuple[str, str, str]:
    """The files of TLS, readable, for a scheduler that has it. Raises InvalidArgument, OSError."""
    names = [*several("tls", files, "the files of an authority, a certificate and its key")]
    if len(names) != _FILES:
        raise InvalidArgument(f"tls {quoted(files)}: expected three files")
    for file in names:
        check_text("tls", file)
    if not address.startswith(("tls://", "wss://")):
        raise InvalidArgument(f"scheduler {quoted(address)}: certificates are for tls:// addresses")
    for file in files:
        with open(file, "rb"):
            pass
    return files


def _limits(dask_scheduler: Any) -> tuple[int, float | None]:
    """On the scheduler: its ``allowed-failures`` and ``worker-ttl`` in seconds."""
    return dask_scheduler.allowed_failures, dask_scheduler.worker_ttl

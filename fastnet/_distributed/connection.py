"""The client's connection to a Dask scheduler, which may restart, or hang."""

import asyncio
import ssl
from _collections_abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from fastnet._limits import bounded, check_text, quoted, several
from fastnet._reference import reference
from fastnet._typing import Any
from fastnet.endpoints import parse_endpoint, resolve
from fastnet.errors import InvalidArgument

_FILES = 3
_CONNECT_SECONDS = 10.0
_AGAIN_SECONDS = 2.0
_SCHEMES = ("tcp", "tls", "ws", "wss")
"""Those of Dask's addresses that have a host."""
_ANSWER_SECONDS = 2.0
"""A scheduler or worker that does not answer in this time hangs; Dask itself waits without a limit."""
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
            self._check_place()
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

    def workers(self) -> dict[str, str]:
        """The name of each worker that the scheduler lists, by address. Raises OSError if it hangs."""
        listed = self.client.sync(
            self.client.scheduler.identity, n_workers=-1, callback_timeout=_ANSWER_SECONDS
        )
        return {address: str(worker["name"]) for address, worker in listed["workers"].items()}

    def call(self, function: Callable[[], object], address: str) -> Any:
        """What the function returns or raises on a worker. Raises TimeoutError if the worker hangs."""
        answers = self.client.run(
            function, workers=[address], on_error="return", callback_timeout=_ANSWER_SECONDS
        )
        return answers[address]

    def limit_notes(self) -> Iterator[str]:
        """The consequences of the scheduler's settings that differ from those in ``docs/scale.md``."""
        failures, ttl = self.client.run_on_scheduler(_limits, callback_timeout=_CONNECT_SECONDS)
        if failures < 1:
            yield "the scheduler's allowed-failures is 0: the client submits a killed worker's shard again"
        if ttl is None or ttl > _MOST_TTL:
            late = "never" if ttl is None else f"after {ttl:g} s"
            yield f"the scheduler's worker-ttl: a worker that hangs is noticed {late}; 30s is better"

    def _check_place(self) -> None:
        """Check the host and port, for which Dask would wait and lose the reason.

        Raises InvalidArgument, and NameNotResolved.
        """
        try:
            scheme, place = self._module.comm.parse_address(self._address)
            if scheme not in _SCHEMES:
                return
            endpoint = parse_endpoint(place)
            bounded("port", endpoint.port, 1, 65535)
        except ValueError as error:
            raise InvalidArgument(f"scheduler {quoted(self._address)}: {error}") from None
        resolve(endpoint.host)
        self._address = f"{scheme}://{endpoint}"  # Dask takes no service name

    def _opened(self, seconds: float) -> Any:
        try:
            self._check_peer(seconds)
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
            root = _root_of(error)
            # Dask's own error leaves out why the connection failed.
            why = getattr(root, "strerror", None) or str(root) or str(error)
            raise OSError(f"scheduler {quoted(self._address)}: {why}") from None

    def _check_peer(self, seconds: float) -> None:
        """Connect once and ask who is there. Raises InvalidArgument for who is no scheduler, and OSError.

        Dask's client waits without a limit for a peer that accepts a connection and is silent: its dashboard,
        another server of HTTP, or a scheduler that hangs.
        """
        arguments = (self._security or self._module.Security()).get_connection_args("client")

        async def identity() -> Any:
            async with self._module.rpc(self._address, timeout=seconds, connection_args=arguments) as peer:
                return await peer.identity()

        async def limited() -> Any:
            # What can't be reached in time has an error of its own, with the reason.
            return await asyncio.wait_for(identity(), seconds + 1)

        with ThreadPoolExecutor(1) as thread:  # the caller's may have a running event loop
            try:
                peer = thread.submit(asyncio.run, limited()).result()
            except TimeoutError:
                raise OSError("connected, but it does not answer as Dask does") from None
        if peer["type"] != "Scheduler":
            raise InvalidArgument(f"it is a {peer['type'].lower()} of Dask")


def _root_of(error: BaseException) -> BaseException:
    """What an error ultimately came from."""
    while error.__cause__:
        error = error.__cause__
    return error


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

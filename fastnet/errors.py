"""All exceptions of fastnet.

Each kind is also the standard library's type that a caller would already catch::

    FastnetError
    ├── InvalidArgument        ValueError       an invalid value
    ├── PacketError            ValueError       a packet that can't be built or read
    │   ├── TruncatedPacket                     it ends before its headers do
    │   └── BadChecksum                         its checksum does not match
    ├── NotPermitted           PermissionError  a privilege is missing; the message names the remedy
    ├── NoSuchInterface        OSError          no interface of that name; the message lists those that exist
    ├── NoAddress              OSError          the interface has no address of that kind
    ├── NameNotResolved        socket.gaierror  a host or service name that does not resolve
    ├── AddressInUse           OSError          the listening address is in use
    ├── BadMessage             ConnectionError  a message that is too long or incomplete
    ├── ChildFailed            ChildProcessError  a forked child raised, was killed, or ended with a status
    ├── VantagesLost           ConnectionError  no vantage of a distributed sweep can be used any more
    ├── WaitTimeout            TimeoutError     a timeout
    ├── SystemUnsupported      ImportError      a feature that needs Linux, on another system
    ├── EngineMissing          ImportError      an engine= whose package or program is not installed
    └── ImplementationMissing  ImportError      FASTNET_IMPL names what this build lacks

An error of the operating system keeps its errno. Nothing here is raised for a host that is down or a
port that is closed: those are answers.
"""

import _socket  # whose gaierror is socket's: that module takes longer to load


class FastnetError(Exception):
    """The root: ``except FastnetError`` catches all of them."""


class InvalidArgument(FastnetError, ValueError):
    """An invalid value; the message has the expected form."""


class PacketError(FastnetError, ValueError):
    """A packet that can't be built from these values, or bytes that are no such packet."""


class TruncatedPacket(PacketError):
    """The bytes end before the headers that they announce."""


class BadChecksum(PacketError):
    """A checksum that does not match what it covers."""


class NotPermitted(FastnetError, PermissionError):
    """The operating system refused for lack of privilege; the message names the remedy."""


class NoSuchInterface(FastnetError, OSError):
    """There is no interface of this name; the message lists the names that exist. errno is ENODEV."""


class NoAddress(FastnetError, OSError):
    """The interface exists and has no address of this kind. errno is EADDRNOTAVAIL."""


class NameNotResolved(FastnetError, _socket.gaierror):
    """A host or service name that does not resolve. errno is the resolver's code, as ``socket.EAI_AGAIN``."""

    def __reduce__(self) -> tuple[type, tuple[object, ...], dict[str, object]]:
        # The errno that is set apart from the message would be lost.
        return type(self), self.args, {**vars(self), "errno": self.errno}


class AddressInUse(FastnetError, OSError):
    """The listening address is in use. errno is EADDRINUSE."""


class BadMessage(FastnetError, ConnectionError):
    """A message that is too long or incomplete: the connection can't be used any more."""


class ChildFailed(FastnetError, ChildProcessError):
    """A forked child raised, was killed, or ended with a status; a note holds its traceback."""


class VantagesLost(FastnetError, ConnectionError):
    """The scheduler, or every vantage, has been away for too long, or no vantage can be used."""


class WaitTimeout(FastnetError, TimeoutError):
    """The timeout has passed."""


class SystemUnsupported(FastnetError, ImportError):
    """This feature needs Linux, and the system is another."""


class EngineMissing(FastnetError, ImportError):
    """An ``engine=`` whose package or program is not installed; the message has how to install it."""


class ImplementationMissing(FastnetError, ImportError):
    """FASTNET_IMPL names an implementation that this installation does not have."""

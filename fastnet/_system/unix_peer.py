"""What a Unix-domain socket gives of its peer: its credentials, and open descriptors.

See unix(7) for SCM_RIGHTS and SO_PEERCRED.
"""

import _socket as socket


def credentials(sock: socket.socket) -> tuple[int, int, int]:
    """The peer's credentials: process, user and group (SO_PEERCRED: struct ucred, three 32-bit integers)."""
    pid, uid, gid = memoryview(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)).cast("I")
    return pid, uid, gid


def receive(sock: socket.socket, size: int, limit: int) -> tuple[bytes, list[int], bool]:
    """Up to ``size`` bytes, the descriptors that came with them, and whether there were more than ``limit``.

    Programs that this process runs do not inherit them; those over the limit the kernel closes.
    """
    # Not by socket.recv_fds: it drops its flags.
    data, extras, flags, _ = sock.recvmsg(size, socket.CMSG_LEN(limit * 4), socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, body in extras:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds += memoryview(body).cast("i")
    return data, fds, bool(flags & socket.MSG_CTRUNC)

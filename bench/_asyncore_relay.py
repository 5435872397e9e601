"""A forwarder by asyncore, for Python 2, and 3 up to 3.11: the last one with asyncore.

Reads of 4 KiB are appended to a buffer without bound, and at every poll that buffer is searched for the
listener's name, which is replaced wherever the client sends it.
"""

import asyncore
import socket
import sys

HOST = "127.0.0.1"
READ_SIZE = 4096


class Side(asyncore.dispatcher):
    other = None

    def __init__(self, sock=None):
        asyncore.dispatcher.__init__(self, sock)
        self.outgoing = b""

    def handle_connect(self):
        pass

    def handle_read(self):
        self.other.outgoing += self.recv(READ_SIZE)

    def writable(self):
        return not self.connected or bool(self.outgoing)

    def handle_write(self):
        self.outgoing = self.outgoing[self.send(self.outgoing) :]

    def handle_close(self):
        self.close()
        self.other.close()


class Upstream(Side):
    def __init__(self, down, listener, upstream):
        Side.__init__(self)
        self.replaced = ":".join(["localhost", str(listener)]).encode()
        self.replacement = ":".join([HOST, str(upstream)]).encode()
        self.other, down.other = down, self
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.connect((HOST, upstream))

    def writable(self):
        self.outgoing = self.outgoing.replace(self.replaced, self.replacement)
        return Side.writable(self)


class Listener(asyncore.dispatcher):
    def __init__(self, listener, upstream):
        asyncore.dispatcher.__init__(self)
        self.ports = (listener, upstream)
        self.create_socket(socket.AF_INET, socket.SOCK_STREAM)
        self.set_reuse_addr()
        self.bind((HOST, listener))
        self.listen(1024)

    def handle_accept(self):
        accepted = self.accept()
        if accepted:
            Upstream(Side(accepted[0]), *self.ports)


if __name__ == "__main__":
    Listener(*[int(port) for port in sys.argv[1:]])
    asyncore.loop()

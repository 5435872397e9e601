"""Every subcommand."""

COMMANDS = {
    "address": "the addresses of one interface",
    "echo": "a dual-stack echo server, and a client that measures latency",
    "forward": "forward local ports to remote hosts, optionally with the HTTP Host rewritten",
    "interfaces": "the network interfaces, or everything that is known of one",
    "ipc": "messages over socket pairs and Unix-domain sockets",
    "ipv6": "which IPv6 support works, the prefix of every address, and what an address is",
    "packet": "parse a packet from hex or a file and show its layers",
    "ping": "whether hosts answer, and how fast",
    "portscan": "the port states of an address",
    "routes": "the routes, or the one to an address",
    "schema": "the JSON Schema of what --json prints",
    "status": "whether an interface is up",
    "sweep": "which hosts of ranges and prefixes answer, and which do not",
    "tour": "a demonstration of every feature on loopback and this machine's interfaces",
    "trace": "each hop on the way to a host, without any privilege",
    "wait": "wait until a service is ready (or gone), then run a command",
}
"""Each subcommand and the line that ``fastnet --help`` prints for it."""

VERSION = ("-V", "--version")
"""The options that print the version."""

PORTABLE = ("packet", "schema")
"""The subcommands that need no Linux."""

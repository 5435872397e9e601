"""An eBPF program that turns ICMP echo requests round before the answering kernel has any work with them.

``python -m bench._reflector HOOK DEVICE`` attaches it, prints the hook, and detaches it when its input ends.
Exit status 3, with a line on stderr: the system does not permit it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench._case import Place

NOT_PERMITTED = 3
NR_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
"""The number of bpf(2)."""
PROG_LOAD, LINK_CREATE = 5, 28
TRANSMIT, REDIRECT_PEER = 3, 155
"""XDP's return value to send a frame back, and the helper that moves a frame to the other end of the pair."""


class Hook(NamedTuple):
    """Where a program runs; all from linux/bpf.h and linux/if_link.h."""

    program_type: int
    attach_type: int
    flags: int
    data_at: int
    """The offsets of the frame's begin and end in the program's argument."""
    end_at: int
    passing: int
    """The return value that leaves a frame to the kernel."""


HOOKS = {
    # Generic: veth's native XDP has to allocate each frame anew, and was slower.
    "XDP": Hook(6, 37, 1 << 1, 0, 4, 2),
    # tcx: the frame reaches the sweep's end within the same softirq, without being sent.
    "tc": Hook(3, 46, 0, 76, 80, -1),
}

HEADERS = 14 + 20 + 8
"""Of Ethernet, IPv4 without options, and ICMP; then offsets of their fields."""
ETHERTYPE, VERSION, PROTOCOL, SOURCE, DESTINATION, TYPE, CHECKSUM = 12, 14, 23, 26, 30, 34, 36
ECHO_REQUEST, ECHO_REPLY = 8, 0


class Instruction(NamedTuple):
    """See the kernel's Documentation/bpf/standardization/instruction-set.rst."""

    code: int
    to: int = 0
    source: int = 0
    offset: int = 0
    value: int = 0

    def packed(self) -> bytes:
        registers = self.source << 4 | self.to if sys.byteorder == "little" else self.to << 4 | self.source
        return struct.pack("=BBhi", self.code, registers, self.offset, self.value)


RESULT, ARGUMENT, FRAME, END, ONE, OTHER = 0, 1, 2, 3, 4, 5
"""Registers."""
LOAD, STORE = {1: 0x71, 2: 0x69, 4: 0x61}, {1: 0x73, 2: 0x6B, 4: 0x63}
SET, COPY, ADD, ADD_REGISTER, SHIFT_RIGHT, CALL, EXIT = 0xB7, 0xBF, 0x07, 0x0F, 0x77, 0x85, 0x95
TO_EXIT = -1
"""The offset of a jump to the end, resolved by assemble()."""


def load(register: int, at: int, size: int) -> Instruction:
    return Instruction(LOAD[size], register, FRAME, at)


def store(register: int, at: int, size: int) -> Instruction:
    return Instruction(STORE[size], FRAME, register, at)


def swap(one: int, other: int, size: int) -> list[Instruction]:
    return [load(ONE, one, size), load(OTHER, other, size), store(ONE, other, size), store(OTHER, one, size)]


def expect(at: int, value: int, size: int = 1) -> list[Instruction]:
    """Exit unless the frame has the value there."""
    return [load(ONE, at, size), Instruction(0x55, ONE, offset=TO_EXIT, value=value)]


def find_request(hook: Hook) -> list[Instruction]:
    """Exit, leaving the frame to the kernel, unless it is an echo request."""
    return [
        Instruction(SET, RESULT, value=hook.passing),
        Instruction(LOAD[4], FRAME, ARGUMENT, hook.data_at),
        Instruction(LOAD[4], END, ARGUMENT, hook.end_at),
        Instruction(COPY, ONE, FRAME),
        Instruction(ADD, ONE, value=HEADERS),
        Instruction(0x2D, ONE, END, TO_EXIT),  # if it is shorter
        *expect(ETHERTYPE, socket.htons(0x0800), 2),
        *expect(VERSION, 0x45),
        *expect(PROTOCOL, socket.IPPROTO_ICMP),
        *expect(TYPE, ECHO_REQUEST),
    ]


def turn_round() -> list[Instruction]:
    return [
        *(each for at in (0, 2, 4) for each in swap(at, at + 6, 2)),  # the MAC addresses
        *swap(SOURCE, DESTINATION, 4),
        Instruction(SET, ONE, value=ECHO_REPLY),
        store(ONE, TYPE, 1),
        # RFC 1624: where the message has become less by 8 << 8, the complement of its sum is more by that.
        load(ONE, CHECKSUM, 2),
        Instruction(ADD, ONE, value=socket.htons((ECHO_REQUEST - ECHO_REPLY) << 8)),
        Instruction(COPY, OTHER, ONE),
        Instruction(SHIFT_RIGHT, OTHER, value=16),
        Instruction(ADD_REGISTER, ONE, OTHER),  # the carry
        store(ONE, CHECKSUM, 2),
    ]


def send_back(name: str, interface: int) -> list[Instruction]:
    if name == "XDP":
        return [Instruction(SET, RESULT, value=TRANSMIT)]
    # Its first argument is the interface, the second its flags.
    return [
        Instruction(SET, 1, value=interface),
        Instruction(SET, 2, value=0),
        Instruction(CALL, value=REDIRECT_PEER),
    ]


def assemble(name: str, interface: int) -> bytes:
    """The program for a hook of an interface."""
    code = [*find_request(HOOKS[name]), *turn_round(), *send_back(name, interface), Instruction(EXIT)]
    last = len(code) - 1
    return b"".join(
        (each._replace(offset=last - at - 1) if each.offset == TO_EXIT else each).packed()
        for at, each in enumerate(code)
    )


def bpf(command: int, attributes: bytes) -> int:
    """bpf(2): a descriptor. Raises OSError."""
    machine = os.uname().machine
    if machine not in NR_BPF:
        raise OSError(f"no number of bpf(2) is known for {machine}")
    libc = ctypes.CDLL(None, use_errno=True)
    found: int = libc.syscall(NR_BPF[machine], command, attributes, len(attributes))
    if found < 0:
        raise OSError(ctypes.get_errno(), f"bpf(2): {os.strerror(ctypes.get_errno())}")
    return found


def attach(name: str, device: str) -> int:
    """A descriptor that keeps the program on the device. Raises OSError."""
    hook, interface = HOOKS[name], socket.if_nametoindex(device)
    code, terms = (ctypes.create_string_buffer(text) for text in (assemble(name, interface), b"MIT"))
    program = bpf(
        PROG_LOAD,
        struct.pack(
            "=IIQQ24x16s4xI",
            *(hook.program_type, len(code) // 8, ctypes.addressof(code), ctypes.addressof(terms)),
            *(b"fastnet_bench", hook.attach_type),
        ),
    )
    return bpf(LINK_CREATE, struct.pack("=4I16x", program, interface, hook.attach_type, hook.flags))


@contextmanager
def reflecting(name: str, place: Place, device: str) -> Iterator[str]:
    """While it is attached there: nothing, or why it can't be."""
    process = subprocess.Popen(
        [*place, sys.executable, "-m", "bench._reflector", name, device],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        yield "" if process.stdout.readline() else process.stderr.read().strip()


def main(name: str, device: str) -> int:
    try:
        attach(name, device)
    except OSError as error:
        print(f"{name}: {error.strerror or error}", file=sys.stderr)
        return NOT_PERMITTED
    print(name, flush=True)
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

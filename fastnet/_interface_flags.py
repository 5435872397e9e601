"""The flags of an interface."""

import enum


class InterfaceFlags(enum.IntFlag):
    """The flags of netdevice(7) that SIOCGIFFLAGS returns (the low 16 bits of linux/if.h)."""

    __module__ = "fastnet.interfaces"

    UP = 0x1
    BROADCAST = 0x2
    DEBUG = 0x4
    LOOPBACK = 0x8
    POINTOPOINT = 0x10
    NOTRAILERS = 0x20
    RUNNING = 0x40
    NOARP = 0x80
    PROMISC = 0x100
    ALLMULTI = 0x200
    MASTER = 0x400
    SLAVE = 0x800
    MULTICAST = 0x1000
    PORTSEL = 0x2000
    AUTOMEDIA = 0x4000
    DYNAMIC = 0x8000

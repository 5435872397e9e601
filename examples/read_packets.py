"""Build a DNS request's packet by hand, show it, and read it back.

python read_packets.py
"""

import argparse

from fastnet.packet import UDP, Ethernet, IPv4, dump, parse

QUESTION = bytes.fromhex("1234 0100 0001 0000 0000 0000 07 6578616d706c65 03 636f6d 00 0001 0001")

argparse.ArgumentParser(description="Build a DNS request's packet, show it, and read it back.").parse_args()
packet = (
    Ethernet(dst="02:00:00:00:00:02", src="02:00:00:00:00:01")
    / IPv4(src="192.0.2.1", dst="192.0.2.53")
    / UDP(sport=40000, dport=53)
    / QUESTION
)
print(dump(packet))
print("read back: to port", parse(bytes(packet))[UDP].dport)

"""Run a program that was written for netifaces, which is archived, unchanged.

python replace_netifaces.py
"""

import argparse

import fastnet.compat.netifaces

fastnet.compat.netifaces.install()

import netifaces  # noqa: E402  the one that was installed above, for dependencies too

argparse.ArgumentParser(description="Print the IPv4 addresses of each interface.").parse_args()
for name in netifaces.interfaces():
    for address in netifaces.ifaddresses(name).get(netifaces.AF_INET, []):
        print(name, address["addr"])

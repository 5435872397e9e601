"""Replacements for other packages: ``fastnet.compat.netifaces``."""

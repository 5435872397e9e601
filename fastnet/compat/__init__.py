"""Modules that stand in for other packages: ``fastnet.compat.netifaces``."""

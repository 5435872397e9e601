"""Special-purpose addresses among many public targets, which a sweep leaves out."""

from fastnet._limits import check_flag
from fastnet.targets import Targets

PUBLIC = 1 << 20
"""The number of public targets above which special-purpose addresses are left out."""


def without_special(targets: Targets, include: bool) -> tuple[Targets, int]:
    """The targets without special-purpose addresses if there are many others, and how many were left out.

    Left out are addresses that IANA's registries list as not globally reachable, multicast, and unassigned
    IPv6. Raises InvalidArgument if ``include`` is no bool.
    """
    check_flag("include_special", include)
    if include or targets.size <= PUBLIC:
        return targets, 0
    from fastnet._special import OTHER_BLOCKS, REGISTERED  # only here: small sweeps need none of it

    reachable = [block.prefix for block in REGISTERED if block.globally_reachable]
    # An IPv4-mapped address is no target.
    blocks = (block for block in (*REGISTERED, *OTHER_BLOCKS) if block.type != "ipv4-mapped")
    special = [block.prefix for block in blocks if not block.globally_reachable]
    public = Targets(*targets.texts(), exclude=Targets(*special, exclude=reachable).texts())
    public.unresolved = targets.unresolved
    return (public, targets.size - public.size) if public.size > PUBLIC else (targets, 0)

"""Results that are kept as long as they are true.

``kept()`` returns a dictionary of the calling thread, the same one until the kernel has sent an event on
interfaces or their addresses (rtnetlink(7)), or the thread has moved to another network namespace; then an
empty one. A caller that finds nothing in it asks the kernel and puts the answer in: what is found there is
never older than the last event that the kernel had sent before the call. Each thread has its own, and a
forked child begins with none. Without such events (AF_NETLINK denied, no /proc) every call returns an empty
dictionary.
"""

GROUPS = 1 | 1 << 4 | 1 << 8 | 1 << 27
"""Of linux/rtnetlink.h: RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_NSID."""

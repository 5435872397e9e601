"""The records that commands print with ``--json``, each declared once.

Each ``kind`` is of one class only; what two commands would share begins with the command's name. Code that
prints a record writes a dictionary that mypy checks against its class, and imports this module for type
checking only. ``tools/schemas.py`` makes the files of ``fastnet/schemas/`` from the classes and docstrings.
"""

from fastnet._records.base import (
    Record as Record,
)
from fastnet._records.forward import (
    Connection as Connection,
)
from fastnet._records.forward import (
    Data as Data,
)
from fastnet._records.forward import (
    ForwardSummary as ForwardSummary,
)
from fastnet._records.forward import (
    Listening as Listening,
)
from fastnet._records.forward import (
    Lost as Lost,
)
from fastnet._records.forward import (
    Metrics as Metrics,
)
from fastnet._records.forward import (
    Reloaded as Reloaded,
)
from fastnet._records.forward import (
    Rule as Rule,
)
from fastnet._records.forward import (
    RuleAddresses as RuleAddresses,
)
from fastnet._records.interfaces import (
    Address as Address,
)
from fastnet._records.interfaces import (
    EmbeddedIPv4 as EmbeddedIPv4,
)
from fastnet._records.interfaces import (
    Explanation as Explanation,
)
from fastnet._records.interfaces import (
    Interface as Interface,
)
from fastnet._records.interfaces import (
    InterfaceAddress as InterfaceAddress,
)
from fastnet._records.interfaces import (
    InterfaceEvent as InterfaceEvent,
)
from fastnet._records.interfaces import (
    Ipv6Address as Ipv6Address,
)
from fastnet._records.interfaces import (
    KernelRoute as KernelRoute,
)
from fastnet._records.interfaces import (
    NextHop as NextHop,
)
from fastnet._records.interfaces import (
    Prefix as Prefix,
)
from fastnet._records.interfaces import (
    Route as Route,
)
from fastnet._records.interfaces import (
    SpecialBlock as SpecialBlock,
)
from fastnet._records.interfaces import (
    Status as Status,
)
from fastnet._records.interfaces import (
    Support as Support,
)
from fastnet._records.interfaces import (
    WayOut as WayOut,
)
from fastnet._records.others import (
    EchoListening as EchoListening,
)
from fastnet._records.others import (
    EchoReply as EchoReply,
)
from fastnet._records.others import (
    EchoServed as EchoServed,
)
from fastnet._records.others import (
    EchoSummary as EchoSummary,
)
from fastnet._records.others import (
    IpcReply as IpcReply,
)
from fastnet._records.others import (
    Layer as Layer,
)
from fastnet._records.others import (
    Message as Message,
)
from fastnet._records.others import (
    Packet as Packet,
)
from fastnet._records.others import (
    Pair as Pair,
)
from fastnet._records.others import (
    Visit as Visit,
)
from fastnet._records.probes import (
    MTU as MTU,
)
from fastnet._records.probes import (
    Hop as Hop,
)
from fastnet._records.probes import (
    HopResponse as HopResponse,
)
from fastnet._records.probes import (
    Interval as Interval,
)
from fastnet._records.probes import (
    Limit as Limit,
)
from fastnet._records.probes import (
    Outcome as Outcome,
)
from fastnet._records.probes import (
    PathMTU as PathMTU,
)
from fastnet._records.probes import (
    Port as Port,
)
from fastnet._records.probes import (
    Reply as Reply,
)
from fastnet._records.probes import (
    ScannedPort as ScannedPort,
)
from fastnet._records.probes import (
    Sighting as Sighting,
)
from fastnet._records.probes import (
    Statistics as Statistics,
)
from fastnet._records.probes import (
    Summary as Summary,
)
from fastnet._records.probes import (
    SweepPlan as SweepPlan,
)
from fastnet._records.probes import (
    TraceSummary as TraceSummary,
)
from fastnet._records.probes import (
    Vantage as Vantage,
)
from fastnet._records.probes import (
    VantageSummary as VantageSummary,
)
from fastnet._records.probes import (
    VantageVerdict as VantageVerdict,
)
from fastnet._records.probes import (
    Verdict as Verdict,
)

"""Options of other programs without an equivalent here, for usage errors and ``docs/habits.md``.

``habits`` has those with one.
"""

_LEAVE = "leave it out"
_NONE = "there is none here"
_NAMES = "names are not looked up"
_NMAP = {
    "-A": f"system, versions, scripts, trace: {_NONE}, but fastnet trace HOST",
    "-b": f"FTP bounce scan: {_NONE}",
    "-d --debug --log-errors": _LEAVE,
    "-D": f"decoys: {_NONE}",
    "-F --top-ports --port-ratio --exclude-ports": f"choice of ports: {_NONE}, but portscan -p PORTS",
    "-f --mtu": f"fragmented probes: {_NONE}",
    "-g --source-port": f"source port: {_NONE}",
    "-iR": f"random targets: {_NONE}",
    "-O --fuzzy --max-os-tries --osscan-guess --osscan-limit": f"detection of the operating system: {_NONE}",
    "-oA -oS": "one format: options choose it, and > FILE the file",
    "-PM -PO -PP -PU -PY": f"this probe: {_NONE}; sweep --engine has the others",
    "-r": "ports are in ascending order",
    "-R --dns-servers --system-dns": _NAMES,
    "-S --spoof-mac --badsum --ip-options --ttl": f"probes made up: {_NONE}",
    "-sA -sF -sI -sM -sN -sO -sU -sW -sX -sY -sZ --scanflags --adler32": (
        f"this scan: {_NONE}; portscan connects"
    ),
    (
        "-sC --script --script-args --script-args-file --script-help --script-timeout --script-trace"
        " --script-updatedb"
    ): f"scripts: {_NONE}",
    "-sL": f"list of the targets: {_NONE}",
    "-sP": "fastnet sweep",
    "-sV --allports --version-all --version-intensity --version-light --version-trace --versiondb": (
        f"service versions: {_NONE}"
    ),
    "--append-output": ">> FILE",
    "--data --data-length --data-string": f"data in probes: {_NONE}",
    "--datadir --noninteractive --privileged --send-eth --send-ip --servicedb --unprivileged": _LEAVE,
    "--defeat-icmp-ratelimit --defeat-rst-ratelimit --nsock-engine --release-memory": _LEAVE,
    "--disable-arp-ping": "--engine raw, where root sweeps a network of its own",
    "--discovery-ignore-rst": "a port that refuses is a host that is alive, always",
    "--host-timeout --scan-delay --max-scan-delay": _NONE,
    "--iflist": "fastnet interfaces; fastnet routes",
    "--initial-rtt-timeout --max-rtt-timeout --min-rtt-timeout": "--timeout TIME",
    "--min-hostgroup --max-hostgroup --min-parallelism --min-rate": _LEAVE,
    "--packet-trace": _NONE,
    "--proxies": f"proxies: {_NONE}",
    "--resolve-all": "the first address of a name only",
    "--stats-every": "progress is on a terminal",
    "--stylesheet --no-stylesheet --webxml": f"style sheets: {_NONE}",
    "--traceroute": "fastnet trace HOST",
}
NOT_HERE: dict[str, dict[str, dict[str, str]]] = {
    "ping": {
        "ping": {
            "-F": f"flow label: {_NONE}",
            "-L": "multicast addresses are not pinged",
            "-N": f"node information queries (RFC 4620): {_NONE}",
            "-T": f"IP timestamps: {_NONE}",
        },
        "fping": {
            "-R --random": f"random data: {_NONE}; -p HEX fills the payload",
            "-T --seqmap-timeout": _LEAVE,
            "--icmp-timestamp": f"ICMP timestamps: {_NONE}",
            "--oiface": "-I NAME",
            "--print-tos": "the TOS of replies is not printed",
            "--timestamp-format": f"-D prints the time; another format: {_NONE}",
        },
    },
    "sweep": {
        "nmap": {
            **_NMAP,
            "-Pn": "fastnet portscan HOST, which asks no host before",
            "--max-parallelism": "--max-rate N",
            "--open": "--alive",
            "--reason": f"reasons of hosts: {_NONE}",
            "--unique": "always so",
        }
    },
    "portscan": {
        "nmap": {
            **_NMAP,
            "-e": f"choice of the interface: {_NONE}",
            "-iL --exclude --excludefile --randomize-hosts --unique": (
                "one host only; fastnet sweep takes many"
            ),
            "-oG -oN": "> FILE",
            "-PA -PE -PR -PS": "no host is asked before; fastnet sweep does",
            "--max-rate": "--concurrency N",
            "--max-retries": f"retries: {_NONE}",
            "--reason": "always so",
            "--resume": _NONE,
        }
    },
    "trace": {
        "traceroute": {
            "-A --as-path-lookups": f"AS numbers: {_NONE}",
            "-D --dccp": f"probes by DCCP: {_NONE}",
            "-e --extensions": f"ICMP extensions: {_NONE}",
            "-f --first": "the first hop is always 1",
            "-F --dont-fragment": f"{_NONE}; --mtu finds the path MTU",
            "-g --gateway": f"source routes: {_NONE}",
            "-l --flowlabel": f"flow label: {_NONE}",
            "-O --options": "options of a module, which are words: there are none here; a number is the TOS",
            "-p --port --sport": f"choice of the port: {_NONE}",
            "-P --protocol": f"probes by another protocol: {_NONE}; --engine has those that there are",
            "-T --tcp": f"probes by TCP: {_NONE}; fastnet ping --engine tcp asks the host itself",
            "-z --sendwait": f"pause between probes: {_NONE}",
            "-UL --udplite": f"probes by UDP-Lite: {_NONE}",
            "--back": f"hops of the way back: {_NONE}",
        }
    },
    "forward": {
        "socat": {
            "-4 -6": "an upstream's address decides",
            "-b": f"buffer size: {_NONE}",
            "-d -D -g -s": _LEAVE,
            "-l": "messages are on stderr",
            "-L -W": f"lock files: {_NONE}",
            "-q -S": _LEAVE,
            "-r -R": f"raw dumps: {_NONE}; --dump prints the bytes",
            "-t": "--half-closed-timeout TIME",
            "-u -U": f"one direction only: {_NONE}",
            "-x": "--dump",
        },
        "haproxy": {
            "-C": "cd to it first",
            "-d -q -V": _LEAVE,
            "-L": f"peers: {_NONE}",
            "-m": f"limit of memory: {_NONE}",
            "-N": "--max-connections N",
            "-p": f"pid file: {_NONE}",
            "-s -x": "SIGHUP reads the rules again, in the same process",
            "-S": f"master CLI: {_NONE}; --top is a table of connections",
            "-W": "one process: --threads N",
        },
    },
}
"""By command and program: the names of options, and what to know."""

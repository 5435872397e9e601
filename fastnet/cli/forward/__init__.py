"""Forward local ports to remote hosts, until SIGTERM or Ctrl-C, which wait for open connections to end.

LISTEN is [HOST:]PORT, on loopback unless a HOST is given (`*` is every address); port 0 takes a free one.
Several UPSTREAMs share the connections.
"""

from fastnet.cli import exits
from fastnet.cli.forward.options import add_options, given_rules
from fastnet.cli.forward.printing import print_rules
from fastnet.cli.forward.service import Service
from fastnet.cli.quick_parser import Arguments, Parser

INTERMIXED = True


def configure(parser: Parser) -> None:
    add_options(parser)


def run(args: Arguments) -> int:
    rules = given_rules(args)
    service = Service(args, rules)
    if args.dry_run:
        print_rules(rules, args.json)
        return exits.YES
    return service.run()

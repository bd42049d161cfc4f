"""Generate load: clients that place orders or look up their status.

Runs as a separate process. An unexpected response ends it with exit code 1. It prints the lines
`began` and `ended` when the measured time begins and ends, then the result as JSON.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import uvloop

from benchmarks.clients import GET, POST, ClientPool, WrongResponse, post_request, with_api_key
from benchmarks.loops import Plan, print_line, run


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.load", description=__doc__)
    parser.add_argument("what", choices=["place", "status", "post"])
    parser.add_argument("port", type=int, help="port of the service on 127.0.0.1")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--count", type=int, help="number of requests, instead of --seconds")
    parser.add_argument("--rate", type=float, help="requests/s at a constant rate (open loop)")
    parser.add_argument(
        "--numbers", type=Path, help="file of the order numbers to look up, one per line"
    )
    parser.add_argument(
        "--posts", type=Path, help="file of the requests to post: a path and a JSON body per line"
    )
    parser.add_argument("--api-key", help="send this API key with each request")
    parser.add_argument(
        "--placed", type=Path, help="JSON file to write: the scheduled time of each order"
    )
    parser.add_argument(
        "--latencies", type=Path, help="JSON file to write: the latency of each request in s"
    )
    return parser.parse_args()


def _requests(arguments: argparse.Namespace) -> Iterator[bytes]:
    if arguments.what == "place":
        requests = [POST]
    elif arguments.what == "post":
        lines = arguments.posts.read_bytes().splitlines()
        requests = [post_request(*line.split(b" ", 1)) for line in lines]
    else:
        requests = [GET % number for number in arguments.numbers.read_bytes().split()]
    if arguments.api_key is not None:
        requests = [with_api_key(each, arguments.api_key) for each in requests]
    return cycle(requests)


async def _main(arguments: argparse.Namespace) -> None:
    pool = ClientPool(_requests(arguments), b"201" if arguments.what == "place" else b"200")
    pool.record_numbers = arguments.placed is not None
    plan = Plan(
        arguments.port,
        arguments.connections,
        arguments.seconds,
        arguments.warm_up,
        arguments.count,
        arguments.rate,
    )
    result = await run(pool, plan)
    if arguments.placed is not None:
        arguments.placed.write_text(json.dumps(pool.placed))
    if arguments.latencies is not None:
        arguments.latencies.write_text(json.dumps(pool.latencies))
    print_line(json.dumps(result))


if __name__ == "__main__":
    try:
        uvloop.run(_main(_arguments()))
    except WrongResponse as error:
        sys.exit(f"benchmarks.load: {error}")

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
A client of the control socket that keeps to no rule. Every request is wrong;
each must be answered with an error or end the connection, none may do anything.

usage: hostile.py SOCKET [--seed N] [--count N]
       hostile.py SOCKET --stranger UID    (must not be able to ask)
"""
import argparse
import json
import os
import random
import socket
import sys

OPS = ["status", "detach", "remove", "attach", "add", "resync", "resync-forecast", "resync-state",
       "resync-set", "changes", "map", "diff", "scrub", "scrub-set", "", "\0", "Status", "op"]
KEYS = ["store", "path", "name", "paused", "rate", "cancel", "since", "until", "blocks", "node", "op", "x"]


def connect(path):
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer.settimeout(20)
    peer.connect(path)
    return peer


def lines(peer):
    """What is answered until the other side closes."""
    got = b""
    while True:
        try:
            more = peer.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            return [json.loads(line) for line in got.splitlines()]
        got += more


def ask(path, request):
    peer = connect(path)
    try:
        peer.sendall(request)
        peer.shutdown(socket.SHUT_WR)
    except (BrokenPipeError, ConnectionResetError):
        pass
    answers = lines(peer)
    peer.close()
    return answers


def value(rng, depth=0):
    kind = rng.randrange(9 if depth < 3 else 6)
    return [None, True, rng.randrange(-1 << 63, 1 << 63), rng.random() * 1e308,
            "".join(chr(rng.randrange(1, 0xd7ff)) for _ in range(rng.randrange(40))),
            rng.choice(["../..", "/", "a" * 5000, "%s%n", "\u0000"]),
            [value(rng, depth + 1) for _ in range(rng.randrange(4))] if depth < 3 else 0,
            {key: value(rng, depth + 1) for key in rng.sample(KEYS, 2)} if depth < 3 else 0,
            -1][kind]


def wrong_request(rng):
    """An object with the right words in the wrong places."""
    request = {key: value(rng) for key in rng.sample(KEYS, rng.randrange(len(KEYS)))}
    # A known operation only with operands of the wrong type.
    request["op"] = rng.choice(OPS + [value(rng)])
    for key in ("store", "path", "name", "since", "node"):
        if isinstance(request["op"], str) and isinstance(request.get(key), str):
            request[key] = "no such thing: " + request[key]
    if request["op"] in ("status", "resync", "resync-set", "resync-forecast", "scrub", "scrub-set"):
        request["op"] += "?"
    return json.dumps(request).encode() + b"\n"


def garbage(rng):
    return rng.choice([
        rng.randbytes(rng.randrange(1, 4000)), b"\n" * 100, b"{" * 60000, b'{"op":' + b"[" * 30000,
        b'{"op":"status"', b"x" * 70000, b'{"op":"status"}' * 3 + b"\n", b'{"a":1,"a":2}\n', b"\0\n",
        b'"status"\n', b"[]\n", b"1e9999\n", b'{"op":"\xff\xfe"}\n'])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("path")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--stranger", type=int)
    args = parser.parse_args()
    if args.stranger:
        os.setgid(args.stranger)
        os.setuid(args.stranger)
        try:
            connect(args.path)
        except PermissionError:
            return
        sys.exit("hostile.py: a stranger reached the socket")
    print("seed", args.seed)
    rng = random.Random(args.seed)
    for turn in range(args.count):
        request = garbage(rng) if turn % 3 == 0 else wrong_request(rng)
        for answer in ask(args.path, request):
            if answer.get("ok") or not answer.get("error"):
                sys.exit("hostile.py: %r was answered with %r" % (request[:300], answer))
    # More of them than are admitted, all silent; then a polite one.
    crowd = []
    try:
        while len(crowd) < 40:
            crowd.append(connect(args.path))
    except BlockingIOError:
        pass  # no more are waiting than may
    for peer in crowd:
        peer.close()


if __name__ == "__main__":
    main()

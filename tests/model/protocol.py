#!/usr/bin/env python3
"""The protocol model: random histories of a mirrored volume, checked against what the design promises.

    protocol.py [--runs N] [--seed S] [--stores 2|3] [--steps N] [--jobs N]
    protocol.py --trace SEED        one run, told step by step
    protocol.py --ablate [RULE...]  switches each rule off: is it needed?

See docs/model.md.
"""
from __future__ import annotations

import argparse
import multiprocessing
import sys
from typing import NamedTuple, Optional

from protocol_rules import CAUTION, RULES, Rules
from protocol_store import Violation
from protocol_world import World

SHORT = 14                  # steps of the shortest runs; the other kinds have up to --steps


class Setting(NamedTuple):
    stores: int             # 0: two and three by turns
    steps: int
    off: tuple[str, ...] = ()


class Found(NamedTuple):
    seed: int
    steps: int
    what: str
    trace: list[str]


def world_of(setting: Setting, seed: int, trace: Optional[list[str]] = None) -> World:
    return World(seed, Rules(setting.off), setting.stores or 2 + seed % 2, trace)


def play(setting: Setting, seed: int, steps: int, trace: Optional[list[str]] = None) -> tuple[World, str]:
    world = world_of(setting, seed, trace)
    try:
        world.run(steps)
    except Violation as violation:
        return world, str(violation)
    return world, ""


def steps_of(setting: Setting, seed: int) -> int:
    """Short runs give short traces, long ones more to go wrong."""
    return setting.steps if seed % 4 else min(SHORT, setting.steps)


def tell(setting: Setting, seed: int, steps: int) -> Found:
    trace: list[str] = []
    _, what = play(setting, seed, steps, trace)
    return Found(seed, steps, what, trace)


def play_range(setting: Setting, first: int, last: int, stop_early: bool = False) -> tuple[dict[str, int], list[Found]]:
    counts: dict[str, int] = {"runs": 0, "violations": 0}
    found: list[Found] = []
    for seed in range(first, last):
        steps = steps_of(setting, seed)
        world, what = play(setting, seed, steps)
        counts["runs"] += 1
        for key, value in world.counts.items():
            counts[key] = counts.get(key, 0) + value
        if what and setting.off and play(setting._replace(off=()), seed, steps)[1]:
            continue                        # not this rule's doing
        if what:
            counts["violations"] += 1
            found = shortest([*found, tell(setting, seed, steps)])
            if stop_early and counts["violations"] >= 5:
                break
    return counts, found


def shortest(found: list[Found]) -> list[Found]:
    return sorted(found, key=lambda f: (len(f.trace), f.seed))[:1]


def play_part(part: tuple[Setting, int, int, bool]) -> tuple[dict[str, int], list[Found]]:
    return play_range(*part)


def shrink(setting: Setting, found: Found, tries: int = 600) -> Found:
    """Other seeds, short runs: a shorter trace of the same kind of violation."""
    kind = kind_of(found.what)
    best = found
    for seed in range(found.seed + 1, found.seed + 1 + tries):
        for steps in (SHORT // 2, SHORT, 2 * SHORT):
            _, what = play(setting, seed, steps)
            if what:
                if kind_of(what) == kind:
                    best = shortest([best, tell(setting, seed, steps)])[0]
                break
    return best


def kind_of(what: str) -> str:
    return "".join(c for c in what if not c.isdigit())[:24]


def report(found: Found) -> None:
    print(f"seed {found.seed}, {found.steps} steps: {found.what}")
    for line in found.trace:
        print("    " + line)


def run(setting: Setting, first: int, runs: int, jobs: int) -> int:
    size = max(50, runs // (jobs * 8))
    parts = [(setting, at, min(at + size, first + runs), False) for at in range(first, first + runs, size)]
    if jobs > 1:
        with multiprocessing.Pool(jobs) as pool:
            results = pool.map(play_part, parts, chunksize=1)
    else:
        results = [play_part(part) for part in parts]
    total: dict[str, int] = {}
    found: list[Found] = []
    for counts, some in results:
        for key, value in counts.items():
            total[key] = total.get(key, 0) + value
        found += some
    if found:
        best = shortest(found)[0]
        for other in sorted(found)[:10]:
            print(f"violation: seed {other.seed}, {other.steps} steps: {other.what}")
        print("shortest trace found:")
        report(shrink(setting, best))
    order = ["runs", "violations"] + sorted(k for k in total if k not in ("runs", "violations"))
    print("protocol model: " + ", ".join(f"{total[k]} {k}" for k in order))
    return 1 if found else 0


class Ablated(NamedTuple):
    rule: str
    runs: int
    found: Optional[Found]
    needless: tuple[int, int] = (0, 0)      # forks that were none: with the rule, without it


def ablate_one(part: tuple[Setting, int, int]) -> Ablated:
    setting, first, runs = part
    counts, found = play_range(setting, first, first + runs, stop_early=True)
    rule = setting.off[0]
    if found or rule not in CAUTION:
        return Ablated(rule, counts["runs"], found[0] if found else None)
    full, _ = play_range(setting._replace(off=()), first, first + runs)
    return Ablated(rule, counts["runs"], None, (full.get("needless forks", 0), counts.get("needless forks", 0)))


def ablate(setting: Setting, rules: list[str], first: int, runs: int, jobs: int, traces: bool) -> int:
    parts = [(setting._replace(off=(name,)), first, runs) for name in rules]
    missing = []
    with multiprocessing.Pool(jobs) as pool:
        for name, tried, found, (few, many) in pool.imap(ablate_one, parts):
            if many > few * 1.1:
                print(f"{name}: needed (needless forks in {tried} runs: {few} with it, {many} without)")
            elif found:
                print(f"{name}: needed (seed {found.seed}: {found.what})")
                if traces:
                    report(shrink(setting._replace(off=(name,)), found, 1500))
            else:
                missing.append(name)
                print(f"{name}: no violation found without it in {tried} runs ({RULES[name]})")
            sys.stdout.flush()
    print(f"protocol model: {len(rules)} rules switched off one by one, {len(rules) - len(missing)} shown to be needed"
          + (f", not shown: {', '.join(missing)}" if missing else ""))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Random histories of a mirrored volume, checked against the design.")
    parser.add_argument("--runs", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--stores", type=int, choices=(2, 3), default=0, help="default: both, by turns")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--off", action="append", default=[], metavar="RULE", help="switch a rule off")
    parser.add_argument("--ablate", nargs="*", metavar="RULE", help="switch each rule off in turn")
    parser.add_argument("--traces", action="store_true", help="with --ablate: tell the shortest violation found")
    parser.add_argument("--trace", type=int, metavar="SEED")
    args = parser.parse_args()
    for name in [*args.off, *(args.ablate or ())]:
        if name not in RULES:
            parser.error(f"no such rule: {name}; there are {', '.join(RULES)}")
    setting = Setting(args.stores, args.steps, tuple(args.off))
    if args.trace is not None:
        found = tell(setting, args.trace, steps_of(setting, args.trace))
        report(found)
        return 1 if found.what else 0
    if args.ablate is not None:
        return ablate(setting, args.ablate or list(RULES), args.seed, args.runs, args.jobs, args.traces)
    return run(setting, args.seed, args.runs, args.jobs)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:
        sys.exit(1)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a btrfs alone, without seqmirror, loses of what was synced.

The application of power_loss.py works on the backing filesystem itself; its
disk fails every call from one moment on (faultyfs), so that no sync can return
well after that. With btrfs's tree log every thirtieth loss of power takes
something that was synced (Linux 6.18): a name that another file was renamed
over, a removal, a block of a file. That is why powerimage.py mounts with
notreelog: the rig is to judge seqmirror. One thing remains, in one of some 250:
where a file was extended and not synced since, bytes that were cut off before,
and synced so, show again behind its former end. powermodel.Tail allows it.

usage: FAULTYFS=... plain_btrfs.py [--seconds N] [--seed S] [--options O]

Root only; not part of the tests. --options "" mounts as mount(8) does.
"""

import argparse
import os
import random
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "../lib"))
import powerimage  # noqa: E402
import powermodel  # noqa: E402
import powerverdict  # noqa: E402

THREADS = 2


class Rig:
    def __init__(self, work):
        self.stores = [powerimage.Image(work, "s0", "btrfs")]
        self.new_world()

    def new_world(self):
        self.world = powermodel.World(self.stores[0].path, THREADS, True)
        self.world.populate()
        os.sync()

    def one_run(self, rng):
        """The complaints."""
        image = self.stores[0]
        stop = threading.Event()
        workers = [powermodel.Worker(self.world, t, random.Random(
            rng.random()), stop, False) for t in range(THREADS)]
        early = powerimage.EarlyWriter(self, random.Random(rng.random()))
        early.start()
        for worker in workers:
            worker.start()
        stop.wait(rng.uniform(0.02, 0.5))
        image.power_off()
        stop.set()
        early.end.set()
        for thread in workers + [early]:
            thread.join()
        image.again()
        verdict = powerverdict.Verdict(self.world, image.path)
        wrong = [w.error for w in workers if w.error] + verdict.run()
        if wrong:
            image.umount()
            image.format()
            self.new_world()
        else:
            verdict.follow()
        return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int,
                        default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--options", default=powerimage.OPTIONS["btrfs"])
    args = parser.parse_args()
    powerimage.OPTIONS["btrfs"] = args.options
    rng = random.Random(args.seed)
    end = time.monotonic() + args.seconds
    runs = failed = 0
    with tempfile.TemporaryDirectory() as work:
        rig = Rig(work)
        try:
            while time.monotonic() < end:
                runs += 1
                wrong = rig.one_run(rng)
                failed += bool(wrong)
                for text in wrong:
                    print(f"run {runs}: {text}", flush=True)
        finally:
            rig.stores[0].remove()
            os.rmdir(os.path.join(work, "s0.below"))
    print(f"{runs} losses of power from seed {args.seed} with "
          f"'{args.options}', {failed} lost what was synced")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

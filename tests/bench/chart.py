#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""
Draw the results of speed.py: a row per workload, a bar per contender, its
length the ratio to native, cut at 1.5.

usage: chart.py RESULTS.json CHART.svg
"""
import json
import sys
from xml.sax.saxutils import escape

COLOURS = {
    "dualwrite": "#9aa5b1", "seqmirror": "#1f6feb", "seqmirror-uring": "#0b3d91",
    "seqmirror-degraded": "#79b0ff", "btrfs-raid1": "#2da44e", "mergerfs": "#d4a72c",
    "glusterfs": "#cf222e", "fuse": "#8250df",
}
LEFT, WIDTH, BAR, GAP, TOP = 190, 560, 9, 14, 60
LONGEST = 1.5


def text(x, y, words, size=12, anchor="start", colour="#24292f"):
    return '<text x="%g" y="%g" font-size="%d" text-anchor="%s" fill="%s">%s</text>' % (
        x, y, size, anchor, colour, escape(words))


def bar(x, y, ratio, low, high, colour):
    scale = WIDTH / LONGEST
    length = min(ratio, LONGEST) * scale
    out = ['<rect x="%g" y="%g" width="%.1f" height="%d" fill="%s"/>' % (x, y, length, BAR - 1, colour)]
    if high > low:
        out.append('<line x1="%.1f" x2="%.1f" y1="%g" y2="%g" stroke="#24292f" stroke-width="1"/>' % (
            x + min(low, LONGEST) * scale, x + min(high, LONGEST) * scale, y + BAR / 2, y + BAR / 2))
    out.append(text(x + length + 4, y + BAR - 1.5, "%.2f" % ratio, 9))
    return out


def draw(report):
    names = [n for n in report["contenders"] if n != "native"]
    out, y = [], TOP
    for workload, rows in report["workloads"].items():
        out.append(text(LEFT - 8, y + BAR * len(names) / 2 + 4, workload, anchor="end"))
        for name in names:
            cell = rows["contenders"].get(name)
            if cell:
                out += bar(LEFT, y, cell["ratio"], cell["ratio_min"], cell["ratio_max"], COLOURS.get(name, "#57606a"))
            y += BAR
        y += GAP
    grid = []
    for tenth in range(0, 16, 5):
        x = LEFT + WIDTH * tenth / 10 / LONGEST
        grid.append('<line x1="%g" x2="%g" y1="%d" y2="%d" stroke="%s"/>' % (
            x, x, TOP - 6, y, "#24292f" if tenth == 10 else "#d0d7de"))
        grid.append(text(x, y + 14, "%.1f" % (tenth / 10), 10, "middle"))
    legend, x = [], LEFT
    for name in names:
        legend.append('<rect x="%d" y="34" width="10" height="10" fill="%s"/>' % (x, COLOURS.get(name, "#57606a")))
        legend.append(text(x + 14, 43, name, 11))
        x += 24 + 7 * len(name)
    title = text(LEFT, 20, "speed as a ratio to native ext4 (higher is better); median and range of %d rounds"
                 % report["rounds"], 13)
    width = max(LEFT + WIDTH + 60, x)
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif">\n'
            '<rect width="100%%" height="100%%" fill="white"/>\n%s\n</svg>\n' % (
                width, y + 30, "\n".join([title] + legend + grid + out)))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        report = json.load(file)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        file.write(draw(report))


if __name__ == "__main__":
    main()

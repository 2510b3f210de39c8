#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the sources against the project's own rules and prints one line for each breach.

usage: tidy.py [--root DIR] [--rule NAME]…

Rules: edge owner link torch length banned name spdx text readme promise waiver format. A function or file that is
too long can be waived in tests/tidy/waivers.txt, which may only become shorter.
"""
import argparse
import pathlib
import sys

import rules_edges
import rules_text
import sources

RULES = {**rules_edges.RULES, **rules_text.RULES}
MOST_WAIVERS = 0  # lower it with each one that goes; it never rises


def read_waivers(root):
    """[(line, path, start of the message)] from `path: message` lines."""
    path = pathlib.Path(root) / "tests/tidy/waivers.txt"
    waivers = []
    if path.exists():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.strip() and not line.startswith("#"):
                where, _, what = line.partition(": ")
                waivers.append((number, where, what))
    return waivers


def breaches(root, wanted):
    """[(path, line, rule, message)] in the order of paths."""
    files = sources.load(root)
    found = []
    for name, rule in RULES.items():
        if name in wanted:
            found += [(path, line, name, message) for path, line, message in rule(files)]
    if "format" in wanted:
        found += [(path, line, "format", message) for path, line, message in rules_text.clang_format(root, files)]
    if "length" in wanted:
        found = apply_waivers(root, found)
    return sorted(set(found))


def apply_waivers(root, found):
    waivers = read_waivers(root)
    kept, used = [], set()
    for path, line, name, message in found:
        fitting = [n for n, where, what in waivers if name == "length" and path == where and message.startswith(what)]
        used.update(fitting)
        if not fitting:
            kept.append((path, line, name, message))
    listing = "tests/tidy/waivers.txt"
    kept += [(listing, number, "waiver", f"{where} no longer needs it: take the line out")
             for number, where, _ in waivers if number not in used]
    if len(waivers) > MOST_WAIVERS:
        kept.append((listing, 1, "waiver", f"{len(waivers)} waivers, more than {MOST_WAIVERS}: the list may only shrink"))
    return kept


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--rule", action="append", choices=[*RULES, "format"])
    options = parser.parse_args()
    found = breaches(options.root, options.rule or [*RULES, "format"])
    for path, line, rule, message in found:
        print(f"{path}:{line}: [{rule}] {message}")
    print(f"tidy: {len(found)} breaches" if found else "tidy: clean")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails if a ctest run skipped a test that the list of allowed skips does not name.

usage: check_skips.py junit.xml skips.txt

A skip is a ctest entry that was not run, or a GoogleTest case that skipped itself inside one. It says
nothing when all is well, so that ctest's own closing lines stay the last ones.
"""
import re
import sys
import xml.etree.ElementTree as ElementTree

SKIPPED_CASE = re.compile(r"^\[  SKIPPED \] ([\w/]+\.[\w/]+)", re.MULTILINE)


def skipped_tests(junit_path):
    """Names of everything that was skipped: `entry` or `entry/Suite.Case`."""
    names = set()
    for case in ElementTree.parse(junit_path).getroot().iter("testcase"):
        name = case.get("name")
        if case.get("status") in ("notrun", "disabled") or case.find("skipped") is not None:
            names.add(name)
        for inner in SKIPPED_CASE.findall(case.findtext("system-out") or ""):
            names.add(f"{name}/{inner}")
    return sorted(names)


def allowed_patterns(skips_path):
    patterns = []
    with open(skips_path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            words = line.split(maxsplit=1)
            if not words or words[0].startswith("#"):
                continue
            if len(words) < 2:
                sys.exit(f"{skips_path}:{number}: give the reason after the name")
            patterns.append(re.compile(words[0]))
    return patterns


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    patterns = allowed_patterns(sys.argv[2])
    unexpected = [n for n in skipped_tests(sys.argv[1]) if not any(p.fullmatch(n) for p in patterns)]
    for name in unexpected:
        print(f"skipped, but {sys.argv[2]} does not allow it: {name}")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs benchmark rows and reports them: one table, and one JSON object a line if asked. See run.sh."""
import argparse
import fnmatch
import json
import sys

import measure
import rows


def selected(all_rows, pattern):
    if not pattern:
        return list(all_rows)
    return [row for row in all_rows if row.id.startswith(pattern) or fnmatch.fnmatch(row.id, pattern)]


def judge(row, bench, machine):
    """The JSON object of one row; `met` is true, false, "skipped: why" or "wrong: why"."""
    result = {"id": row.id, "what": row.what, "value": None, "unit": row.unit, "min": None, "max": None,
              "baseline": row.baseline or None, "baseline_value": None, "ratio": None, "target": row.target,
              "met": None, "machine": machine}
    try:
        if row.needs_gpu and not measure.has_gpu():
            raise measure.Skipped("needs a GPU")
        samples = row.measure(bench)
        if not samples.ours:
            raise measure.WrongAnswer("no sample was taken")
    except measure.Skipped as reason:
        result["met"] = f"skipped: {reason}"
        return result
    except measure.WrongAnswer as reason:
        result["met"] = f"wrong: {reason}"
        return result
    result.update(value=samples.value, min=min(samples.ours), max=max(samples.ours),
                  baseline_value=samples.baseline_value, ratio=samples.ratio, met=bool(row.meets(samples)))
    if samples.note:
        result["note"] = samples.note
    return result


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def line(result):
    met = {True: "met", False: "MISSED"}.get(result["met"], result["met"])
    spread = "-" if result["min"] is None else f"{number(result['min'])}..{number(result['max'])}"
    return [result["id"], number(result["value"]), result["unit"], spread, number(result["baseline_value"]),
            number(result["ratio"]), result["target"], met]


def print_table(results):
    head = ["id", "median", "unit", "min..max", "baseline", "ratio", "target", ""]
    table = [head] + [line(result) for result in results]
    widths = [max(len(cells[i]) for cells in table) for i in range(len(head) - 1)]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + "  " + cells[-1])


def exit_code(results, strict):
    """A wrong answer always fails; with strict also a missed target, and a skip that no GPU would mend."""
    code = 0
    for result in results:
        met = result["met"]
        if isinstance(met, str) and met.startswith("wrong"):
            code = 1
        elif strict and met is not True and met != "skipped: needs a GPU":
            code = 1
    return code


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="")
    parser.add_argument("--json")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--repeat", type=int, default=measure.LEAST_REPETITIONS)
    options = parser.parse_args()
    chosen = selected(rows.ROWS, options.pattern)
    if not chosen:
        sys.exit(f"no row is called {options.pattern}; --list shows them")
    if options.list:
        for row in chosen:
            print(f"{row.id:32} {row.what} [{row.unit}; {row.target}]")
        return 0
    bench, machine, results = measure.Bench(repeat=options.repeat), measure.machine(), []
    print(machine, flush=True)
    for row in chosen:
        print(f"... {row.id}", file=sys.stderr, flush=True)
        results.append(judge(row, bench, machine))
    print_table(results)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(result) + "\n" for result in results)
    return exit_code(results, options.strict)


if __name__ == "__main__":
    sys.exit(main())

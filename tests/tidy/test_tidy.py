#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Negative tests of the tidy rules: each small tree below breaks one rule once, and only that is reported."""
import pathlib
import sys
import tempfile
import unittest

import check_skips
import tidy

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"
HEADER = SPDX + "#pragma once\n"
README = {"runtime/base/README.md": "# base\n", "runtime/engine/README.md": "# engine\n", "comm/README.md": "# comm\n",
          "runtime/coordinator/README.md": "# c\n", "runtime/train/README.md": "# t\n", "launcher/README.md": "# l\n",
          "examples/README.md": "# e\n"}
CLEAN = {
    "runtime/base/include/spillway/base/clock.h": HEADER,
    "runtime/engine/include/spillway/engine/engine.h": HEADER + '#include "spillway/base/clock.h"\n',
    "runtime/coordinator/include/spillway/coordinator/link.h": HEADER,
    "runtime/coordinator/proto.h": HEADER + "#include <google/protobuf/message.h>\n",
    "comm/include/spillway/comm/group.h": HEADER,
    "comm/group.cc": SPDX + '#include "spillway/comm/group.h"\n\nint group()\n{\n  return 1;\n}\n',
    "runtime/train/train.cc": SPDX + '#include <torch/torch.h>\n\n#include "spillway/engine/engine.h"\n',
    "launcher/main.cc": SPDX + "int main() {}\n",
}
LONG_BODY = "\n".join("  ++x;" for _ in range(71))

# rule: [(what is broken, path, its text, what the report must say)]
BROKEN = {
    "edge": [
        ("siblings", "comm/a.cc", '#include "spillway/coordinator/link.h"\n', "comm may not include"),
        ("upwards", "runtime/base/a.cc", '#include "spillway/engine/engine.h"\n', "runtime/base may not include"),
        ("past engine", "runtime/train/a.cc", '#include "spillway/comm/group.h"\n', "runtime/train may not include"),
        ("out of the folder", "comm/a.cc", '#include "../runtime/coordinator/proto.h"\n', "leaves the folder"),
    ],
    "owner": [
        ("gRPC in comm", "comm/a.cc", "#include <grpcpp/grpcpp.h>\n", "gRPC belongs to runtime/coordinator"),
        ("UCX beside its folder", "comm/a.cc", "#include <ucp/api/ucp.h>\n", "UCX belongs to"),
        ("json in the launcher", "launcher/a.cc", "#include <nlohmann/json.hpp>\n", "nlohmann-json belongs"),
        ("torch in engine", "runtime/engine/a.cc", "#include <torch/torch.h>\n", "libtorch belongs"),
        ("shown", "runtime/base/include/spillway/base/a.h", "#pragma once\n#include <spdlog/spdlog.h>\n", "a public header shows"),
        ("nobody's", "comm/a.cc", "#include <boost/asio.hpp>\n", "has no owner yet"),
    ],
    "link": [
        ("sibling", "comm/CMakeLists.txt", "target_link_libraries(spillway_comm PRIVATE spillway::coordinator)\n", "may not link"),
        ("third party", "launcher/CMakeLists.txt", "target_link_libraries(x PRIVATE OpenSSL::SSL)\n", "OpenSSL belongs"),
    ],
    "torch": [
        ("through a header", "tests/unit/a.cc", '#include <torch/torch.h>\n#include "a.h"\n', "sees libtorch"),
    ],
    "length": [
        ("file", "comm/a.cc", "int x;\n" * 501, "lines, more than 500"),
        ("function", "comm/a.cc", f"int f(int x)\n{{\n{LONG_BODY}\n  return x;\n}}\n", "f has 72 lines"),
        ("method", "comm/a.cc", f"struct A\n{{\n  A() : a{{1}}, b(2)\n  {{\n    int x = 0;\n{LONG_BODY}\n  }}\n  int a, b;\n}};\n", "lines, more than 70"),
        ("example", "examples/04_long.cc", "int x;\n" * 121, "lines, more than 120"),
        ("top", "CMakeLists.txt", "#\n" * 151, "lines, more than 150"),
    ],
    "banned": [
        ("sleep", "comm/a.cc", "void f() { std::this_thread::sleep_for(a); }\n", "a raw sleep"),
        ("usleep", "tests/unit/a.cc", "void f() { usleep(1); }\n", "a raw sleep"),
        ("rand", "comm/a.cc", "int f() { return rand(); }\n", "randomness"),
        ("wall clock", "comm/a.cc", "auto f() { return std::chrono::system_clock::now(); }\n", "the wall clock"),
        ("own clock", "comm/a.cc", "auto f() { return std::chrono::steady_clock::now(); }\n", "a clock of its own"),
        ("environment", "launcher/a.cc", 'auto f() { return std::getenv("HOME"); }\n', "the environment"),
        ("fork", "runtime/engine/a.cc", "int f() { return ::fork(); }\n", "a process call"),
        ("exec", "runtime/engine/a.cc", "int f() { return execvp(a, b); }\n", "a process call"),
        ("throw", "runtime/engine/a.cc", "void f() { throw 1; }\n", "an exception"),
        ("option", "comm/a.cc", "#ifdef SPILLWAY_HAS_UCX\n#endif\n", "a build option"),
        ("disabled", "tests/unit/a.cc", "TEST(A, DISABLED_B) {}\n", "a disabled test"),
    ],
    "name": [
        ("file", "comm/utils.cc", "", "does not say what it is"),
        ("folder", "runtime/engine/common/a.cc", "", "does not say what it is"),
    ],
    "spdx": [("license", "comm/a.cc", None, "license"), ("guard", "comm/a.h", "int x;\n", "#pragma once")],
    "text": [
        ("put off", "comm/a.cc", "// TODO: later\n", "put off"),
        ("machine", "comm/a.cc", "// see /work/somewhere\n", "one machine"),
        ("space", "comm/a.cc", "int x; \n", "white space"),
        ("end", "comm/a.cc", "int x;", "one newline"),
    ],
    "readme": [
        ("missing", "kernels/a.cc", "", "has no README.md"),
        ("long", "comm/README.md", "line\n" * 41, "more than 40"),
    ],
    "promise": [("no such test", "CONTRIBUTING.md", "| what | shown by |\n| it works | `nonesuch_test` |\n", "no test called")],
    "format": [("braces", "comm/a.cc", "int   f( ) {return 1;}\n", "clang-format")],
}


def write(root, files):
    for path, text in files.items():
        target = pathlib.Path(root) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def tree(root, path="", text="", rule=""):
    files = {**README, **CLEAN}
    files[".clang-format"] = (pathlib.Path(__file__).parents[2] / ".clang-format").read_text(encoding="utf-8")
    if rule == "torch":
        files["tests/unit/README.md"] = "# unit\n"
        files["tests/unit/a.h"] = HEADER + '#include "b.h"\n'
        files["tests/unit/b.h"] = HEADER + "#include <fmt/core.h>\n"
    if rule == "link":
        files["runtime/coordinator/CMakeLists.txt"] = "# SPDX-License-Identifier: Apache-2.0\nspillway_library(NAME coordinator)\n"
    if path:
        first = "" if text is None or path.endswith(".md") else SPDX if path.endswith((".cc", ".h")) else "# " + SPDX[3:]
        files[path] = first + ("int x;\n" if text is None else text)
    write(root, files)


class RulesTest(unittest.TestCase):
    def test_clean_tree_has_no_breach(self):
        with tempfile.TemporaryDirectory() as root:
            tree(root)
            self.assertEqual(tidy.breaches(root, [*tidy.RULES, "format"]), [])

    def test_every_rule_has_a_tree_that_breaks_it(self):
        self.assertEqual(set(BROKEN), {*tidy.RULES, "format"})

    def test_each_breach_is_reported_once_and_alone(self):
        for rule, cases in BROKEN.items():
            for what, path, text, message in cases:
                with self.subTest(rule=rule, what=what), tempfile.TemporaryDirectory() as root:
                    tree(root, path, text, rule)
                    found = [b for b in tidy.breaches(root, [rule]) if path.startswith(b[0])]
                    self.assertEqual(len(found), 1, found)
                    self.assertIn(message, found[0][3])

    def test_comments_and_strings_are_not_code(self):
        with tempfile.TemporaryDirectory() as root:
            tree(root, "comm/a.cc", '// never usleep(1) here\nconst char* kText = "getenv(1) { throw";\n')
            self.assertEqual(tidy.breaches(root, ["banned", "length"]), [])


class WaiverTest(unittest.TestCase):
    def run_with(self, waivers, most):
        with tempfile.TemporaryDirectory() as root:
            tree(root, "comm/a.cc", "int x;\n" * 501)
            write(root, {"tests/tidy/waivers.txt": waivers})
            before, tidy.MOST_WAIVERS = tidy.MOST_WAIVERS, most
            try:
                return [b[3] for b in tidy.breaches(root, ["length"])]
            finally:
                tidy.MOST_WAIVERS = before

    def test_a_waiver_covers_its_breach(self):
        self.assertEqual(self.run_with("comm/a.cc: 502 lines\n", 1), [])

    def test_a_waiver_too_many_is_a_breach(self):
        self.assertIn("may only shrink", self.run_with("comm/a.cc: 502 lines\n", 0)[0])

    def test_a_waiver_that_nothing_needs_is_a_breach(self):
        self.assertIn("take the line out", "".join(self.run_with("comm/group.cc: 502 lines\n", 1)))


class SkipsTest(unittest.TestCase):
    JUNIT = ('<testsuite><testcase name="one" status="run"><system-out>[  SKIPPED ] Suite.Case (0 ms)\n</system-out>'
             '</testcase><testcase name="two" status="disabled"/><testcase name="three" status="run"/></testsuite>')

    def test_inner_and_outer_skips_are_found(self):
        with tempfile.TemporaryDirectory() as root:
            write(root, {"junit.xml": self.JUNIT})
            self.assertEqual(check_skips.skipped_tests(root + "/junit.xml"), ["one/Suite.Case", "two"])

    def test_a_skip_without_a_reason_is_refused(self):
        with tempfile.TemporaryDirectory() as root:
            write(root, {"skips.txt": "# list\none\n"})
            with self.assertRaises(SystemExit):
                check_skips.allowed_patterns(root + "/skips.txt")


if __name__ == "__main__":
    sys.exit(unittest.main())

# SPDX-License-Identifier: Apache-2.0
"""What a file may be called and contain: lengths, banned calls, names, first lines, folder READMEs."""
import ast
import pathlib
import re
import shutil
import subprocess

FILE_LINES = 500
FUNCTION_LINES = 70
KERNEL_LINES = 120
LONGEST = {"CMakeLists.txt": 150}
EXAMPLE_LINES = 120
README_LINES = 40

# (pattern on code without comments and literals, what it is, what to do, the folders that own it)
BANNED = [
    (r"\b(sleep_for|sleep_until|usleep|nanosleep|clock_nanosleep|(?<![\w.>:])sleep)\s*\(", "a raw sleep",
     "wait on a condition with a deadline, or use Clock", ("runtime/base",)),
    (r"(?<![\w.>])(?:std::)?(s?rand|random|drand48)\s*\(|\brandom_device\b|\bmt19937", "randomness of its own",
     "take an Rng", ("runtime/base",)),
    (r"\bchrono\s*::\s*system_clock\b|\bgettimeofday\s*\(|(?<![\w.>:])time\s*\(\s*(nullptr|NULL|0)\s*\)", "the wall clock",
     "take a Clock", ("runtime/base",)),
    (r"\b(steady_clock|high_resolution_clock)\s*::\s*now\b|\bclock_gettime\s*\(", "a clock of its own",
     "take a Clock", ("runtime/base", "tests", "examples")),
    (r"\b(secure_)?getenv\s*\(", "the environment", "use spillway/base/environment.h", ("runtime/base",)),
    (r"(?<![\w.>])(?:::)?(v?fork|execv[pe]{0,2}|execl[pe]?|execvpe|fexecve|posix_spawnp?|popen|waitpid|waitid|wait4)\s*\("
     r"|(?<![\w.>])(?:std)?::system\s*\(", "a process call", "only the launcher starts and reaps processes",
     ("launcher", "tests")),
    (r"\bthrow\b", "an exception", "return absl::Status; only the train API throws", ("runtime/train", "examples", "tests")),
    (r"\.\s*detach\s*\(\s*\)\s*;", "a thread without an owner", "keep it and join it", ("runtime/train",)),
    (r"^[ \t]*#[ \t]*(if|ifdef|ifndef|elif)\b.*SPILLWAY_(HAS|WITH)_", "a build option in a source",
     "choose an unavailable.cc in CMake", ()),
    (r"\bDISABLED_\w+", "a disabled test", "make it pass or take it out", ()),
]
BAD_NAMES = {"util", "utils", "common", "helper", "helpers", "misc"}
LEFT_OVER = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
# Folders of somebody's machine, and hosts that a package client should know by itself.
MACHINE = re.compile(r"(?<![\w./$}~-])/(work|home|root|farm|Users)/\w|\b(deb\.debian|pypi|files\.pythonhosted|security\.debian)\.org\b")
NEEDS_SPDX = re.compile(r".*\.(h|cc|cu|cuh|py|sh|cmake|proto|in|Dockerfile)$|(.*/)?CMakeLists\.txt$")


def lengths(files):
    for source in files.values():
        limit = FILE_LINES
        if source.path in LONGEST:
            limit = LONGEST[source.path]
        elif re.fullmatch(r"examples/[^/]+\.cc", source.path):
            limit = EXAMPLE_LINES
        if source.is_code and len(source.lines) > limit:
            yield source.path, 1, f"{len(source.lines)} lines, more than {limit}"
        for name, line, count in functions(source):
            most = KERNEL_LINES if source.suffix in (".cu", ".cuh") or source.module == "kernels" else FUNCTION_LINES
            if count > most:
                yield source.path, line, f"{name} has {count} lines, more than {most}"


def functions(source):
    if source.is_cpp:
        for function in source.functions:
            yield function.name, function.line, function.lines
    elif source.suffix == ".py":
        for node in ast.walk(ast.parse(source.text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node.name, node.lineno, node.end_lineno - node.lineno


def banned_calls(files):
    for source in files.values():
        if not source.is_cpp:
            continue
        for pattern, what, instead, owners in BANNED:
            if source.module in owners:
                continue
            for match in re.finditer(pattern, source.code, re.MULTILINE):
                yield source.path, source.line_of(match.start()), f"{what} ({match.group(0).strip()}): {instead}"


def names(files):
    for path in files:
        for part in pathlib.PurePosixPath(path).parts:
            if part.split(".")[0] in BAD_NAMES:
                yield path, 1, f"'{part}' does not say what it is: name the thing that owns it"


def spdx(files):
    for source in files.values():
        if NEEDS_SPDX.match(source.path) and not any(
                "SPDX-License-Identifier: Apache-2.0" in line for line in source.lines[:3]):
            yield source.path, 1, "the first lines do not name the license"
        # Code that Highway compiles once for each instruction set is included as often, behind its toggle.
        again = source.name.endswith("_inl.h") and "defined(HWY_TARGET_TOGGLE)" in source.text
        if source.suffix in (".h", ".cuh") and "#pragma once" not in source.text and not again:
            yield source.path, 1, "a header without #pragma once"


def text(files):
    for source in files.values():
        if not source.text or source.path == "LICENSE":
            continue
        if not source.text.endswith("\n") or source.text.endswith("\n\n"):
            yield source.path, len(source.lines), "end the file with one newline"
        for number, line in enumerate(source.lines, 1):
            if line != line.rstrip() or "\t" in line:
                yield source.path, number, "white space at the end of the line, or a tab"
            if source.path.startswith("tests/tidy/"):
                continue  # the rules and their tests spell out what they look for
            if LEFT_OVER.search(line):
                yield source.path, number, "something put off: do it, or write down what is missing"
            if MACHINE.search(line):
                yield source.path, number, "names a folder of one machine or the host of a registry"


def readmes(files):
    wanted = set()
    for source in files.values():
        parts = source.path.split("/")[:-1]
        if source.is_code and parts and not parts[0].startswith("."):
            wanted.add(parts[0] if parts[0] not in ("runtime", "tests") or len(parts) == 1 else "/".join(parts[:2]))
    for folder in sorted(wanted):
        if folder + "/README.md" not in files:
            yield folder, 1, "has no README.md"
    for source in files.values():
        if source.path.endswith("/README.md") and len(source.lines) > README_LINES:
            yield source.path, 1, f"{len(source.lines)} lines, more than {README_LINES}"


def clang_format(root, files):
    """Run apart from the others: it needs a tool, and takes longer than all of them."""
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    if not tool:
        yield "docker/install-deps.sh", 1, "clang-format is not installed: run it"
        return
    paths = [p for p, s in files.items() if s.is_cpp]
    found = subprocess.run([tool, "--dry-run", "-Werror", "--ferror-limit=1", *paths], cwd=root, capture_output=True,
                           text=True, check=False)
    for path, line in re.findall(r"^(\S+?):(\d+):\d+: error: ", found.stderr, re.MULTILINE):
        yield path, int(line), "not as clang-format 14 writes it: clang-format -i"
    if found.returncode and not found.stderr:
        yield ".clang-format", 1, "clang-format failed without saying why"


def promises(files):
    """Every test that CONTRIBUTING.md names as showing something exists."""
    if "CONTRIBUTING.md" not in files:
        return
    known = "\n".join(s.text for s in files.values() if s.module == "tests" and s.path.endswith((".txt", ".cc", ".h", ".cmake")))
    # `install_${component}` in a loop stands for every name of that shape.
    shapes = [re.sub(r"\\\$\\\{\w+\\\}", r"\\w+", re.escape(shape))
              for shape in set(re.findall(r"(?<![\w/])[a-z]\w{3,}(?:\$\{\w+\}\w*)+(?![\w/])", known))]
    for number, line in enumerate(files["CONTRIBUTING.md"].lines, 1):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|") or len(cells) != 2:
            continue
        for name in re.findall(r"`([^`]+)`", cells[1]):
            patterns = [re.escape(word) for word in re.split(r"[./]", name)]
            found = all(re.search(rf"(?<![\w]){pattern}(?![\w])", known) for pattern in patterns)
            if not found and not any(re.fullmatch(shape, name) for shape in shapes):
                yield "CONTRIBUTING.md", number, f"there is no test called {name}"


RULES = {"promise": promises, "length": lengths, "banned": banned_calls, "name": names, "spdx": spdx, "text": text, "readme": readmes}

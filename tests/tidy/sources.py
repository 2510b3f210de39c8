# SPDX-License-Identifier: Apache-2.0
"""The project's files as the tidy rules see them: which there are, what they include, which functions they define."""
import dataclasses
import functools
import pathlib
import re
import subprocess

CPP = {".h", ".cc", ".cu", ".cuh"}
CODE = CPP | {".py", ".sh", ".cmake", ".proto"}
TEXT = CODE | {".md", ".txt", ".json", ".in", ".yaml", ".yml", ".sql", ".Dockerfile"}

# Folders that own code, longest first, so that a file belongs to the first that is a prefix of its path.
MODULES = ("runtime/coordinator", "runtime/engine", "runtime/train", "runtime/base", "checkpoint", "launcher",
           "examples", "kernels", "docker", "cmake", "tests", "comm")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^\s()\\]{0,16})\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|(?<![\w])\'(?:\\.|[^\'\\\n])+\'',
    re.DOTALL)


def blank_comments_and_strings(text):
    """The same text with comments and literals as spaces: line numbers and columns stay."""
    return TOKEN.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), text)


@dataclasses.dataclass(frozen=True)
class Function:
    name: str
    line: int
    lines: int


class Source:
    """One file. What is derived from its text is computed once, when first asked for."""

    def __init__(self, root, path):
        self.path = path
        self.name = pathlib.PurePosixPath(path).name
        self.suffix = ".cmake" if self.name == "CMakeLists.txt" else pathlib.PurePosixPath(path).suffix
        self.module = next((m for m in MODULES if path.startswith(m + "/")), "")
        raw = (root / path).read_bytes() if self.suffix in TEXT or not self.suffix else b""
        self.text = raw.decode("utf-8", "replace")
        self.lines = self.text.splitlines()

    @property
    def is_cpp(self):
        return self.suffix in CPP

    @property
    def is_code(self):
        return self.suffix in CODE

    @property
    def is_public_header(self):
        return "/include/spillway/" in self.path

    @functools.cached_property
    def code(self):
        """C++ text without comments and literals."""
        return blank_comments_and_strings(self.text)

    @functools.cached_property
    def includes(self):
        """[(line, bracket, path)] of a C++ file."""
        return [(self.text.count("\n", 0, m.start()) + 1, m.group(1), m.group(2)) for m in INCLUDE.finditer(self.text)]

    @functools.cached_property
    def functions(self):
        return list(functions_of(self.code))

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1


CONTAINER = re.compile(r"^(?:template\s*<.*>\s*)?(?:inline\s+)?(?:typedef\s+)?(namespace|class|struct|union|enum|extern)\b", re.DOTALL)
AFTER_PARAMETERS = re.compile(r"\)\s*(?:const|noexcept|override|final|mutable|&|&&|\s|->[^{;]*|requires[^{;]*)*$", re.DOTALL)


def matching_brace(code, start):
    depth = 0
    for index in range(start, len(code)):
        if code[index] == "{":
            depth += 1
        elif code[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return len(code) - 1


def functions_of(code):
    """Functions at namespace and class scope, found by their braces; a lambda belongs to who contains it."""
    code = re.sub(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", lambda m: re.sub(r"[^\n]", " ", m.group(0)), code, flags=re.MULTILINE)
    start = index = parentheses = 0
    while index < len(code):
        char = code[index]
        if char in "()":
            parentheses += 1 if char == "(" else -1
        elif char in ";}" and parentheses == 0:
            start = index + 1
        elif char == "{" and parentheses > 0:
            index = matching_brace(code, index)  # a default argument
        elif char == "{":
            head = re.sub(r"^\s*(public|private|protected)\s*:", "", code[start:index]).strip()
            if CONTAINER.match(head) and not AFTER_PARAMETERS.search(head):
                start = index + 1
            else:
                end = matching_brace(code, index)
                following = code[end + 1:].lstrip()[:1]
                if "(" in head and not head.endswith("=") and following not in (",", "{"):
                    name = re.search(r"([\w~:]+|operator\S+)\s*\(([^)]*)", head)
                    label = name.group(1) if name else "?"
                    if label in ("TEST", "TEST_F", "TEST_P", "TYPED_TEST"):
                        label = f"{label}({name.group(2).strip()})"
                    inside = code.count("\n", index, end) - 1
                    yield Function(label, code.count("\n", 0, index) + 1, max(inside, 0))
                    start = end + 1
                elif "(" not in head:
                    pass  # an initializer: the statement goes on after it
                index = end
        index += 1


def project_files(root):
    """Paths below root that are part of the project: git's view, else everything but build outputs."""
    root = pathlib.Path(root)
    if (root / ".git").exists():
        listing = subprocess.run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "-z"],
                                 check=True, capture_output=True).stdout.decode()
        paths = [p for p in listing.split("\0") if p and (root / p).is_file()]
    else:
        paths = [p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()]
        paths = [p for p in paths if p.split("/")[0] not in ("build", ".venv", ".cache")]
    return sorted(p for p in set(paths) if "__pycache__" not in p)


def load(root):
    root = pathlib.Path(root)
    return {path: Source(root, path) for path in project_files(root)}

# SPDX-License-Identifier: Apache-2.0
"""Who may include and link whom: the dependency rule, the owners of third-party libraries, and torch apart."""
import posixpath
import re

from sources import MODULES

# `folder: what it may include`; its own headers always. Tests may see everything.
MAY_SEE = {
    "runtime/base": set(),
    "runtime/coordinator": {"runtime/base"},
    "comm": {"runtime/base"},
    "kernels": {"runtime/base"},
    "checkpoint": {"runtime/base"},
    "runtime/engine": {"kernels", "comm", "checkpoint", "runtime/coordinator", "runtime/base"},
    "runtime/train": {"runtime/engine", "runtime/base"},
    "launcher": {"runtime/coordinator", "checkpoint", "comm", "kernels", "runtime/base"},
    "examples": {"runtime/train", "runtime/base"},
    "tests": set(MODULES),
}

# (what an include looks like, what a linked target looks like, the library, the folders that own it)
OWNERS = [
    (r"(spdlog|fmt)/", r"(spdlog|fmt)::", "spdlog/fmt", ("runtime/base",)),
    (r"openssl/", r"OpenSSL::", "OpenSSL", ("runtime/base",)),
    (r"xxh", r"PkgConfig::xxhash", "xxHash", ("runtime/base",)),
    (r"nlohmann/", r"nlohmann_json::", "nlohmann-json", ("runtime/base",)),
    (r"(grpc|grpcpp|grpc\+\+)/|.*\.grpc\.pb\.h$", r"gRPC::", "gRPC", ("runtime/coordinator",)),
    (r"google/|.*\.pb\.h$", r"protobuf::", "protobuf", ("runtime/coordinator",)),
    (r"sqlite3", r"PkgConfig::sqlite3", "SQLite", ("runtime/coordinator",)),
    (r"(torch|ATen|c10|caffe2)/", r"spillway::torch\b", "libtorch", ("runtime/train", "examples")),
    (r"isa-l", r"PkgConfig::isal", "ISA-L", ("kernels",)),
    (r"hwy/", r"(PkgConfig::libhwy|hwy::)", "Highway", ("kernels",)),
    (r"(cuda|cuda_\w+|cublas\w*|cuda/.*)(\.h)?$", r"CUDA::", "CUDA", ("kernels", "comm")),
    (r"(ucp|uct|ucs|ucm)/", r"spillway::ucx\b", "UCX", ("comm/ucx", "comm/CMakeLists.txt")),
    (r"nccl", r"spillway::nccl\b", "NCCL", ("comm/nccl", "comm/CMakeLists.txt")),
    (r"arrow/", r"Arrow::", "Arrow", ("checkpoint",)),
    (r"liburing", r"PkgConfig::liburing", "io_uring", ("checkpoint",)),
    (r"CLI/", r"CLI11::", "CLI11", ("launcher",)),
    (r"yaml-cpp/", r"yaml-cpp", "yaml-cpp", ("launcher",)),
]
EVERYWHERE = re.compile(r"(absl|gtest|gmock|benchmark|sys|netinet|arpa|net|linux|asm|spillway)/")
NEVER_WITH_TORCH = ("spdlog/fmt", "gRPC", "protobuf")


def library_of(include):
    return next((name for pattern, _, name, _ in OWNERS if re.match(pattern, include)), None)


def owners_of(library):
    return next(owners for _, _, name, owners in OWNERS if name == library)


def owned(source, library):
    return source.module == "tests" or any(source.path.startswith(owner) for owner in owners_of(library))


def target_of(source, include, files):
    """The project file that an include names, or None for the system's."""
    if include.startswith("spillway/"):
        ending = "/include/" + include
        return next((p for p in files if p.endswith(ending)), None)
    folder = posixpath.dirname(source.path)
    candidates = [posixpath.normpath(posixpath.join(folder, include)), posixpath.join(source.module, include)]
    candidates += [posixpath.join("tests", top, include) for top in ("conformance", "invariants", "sim")]
    return next((c for c in candidates if c in files), None)


def module_of_include(include):
    folder = include.split("/")[1]
    return next((m for m in MODULES if m.split("/")[-1] == folder), None)


def include_edges(files):
    for source in files.values():
        if not source.is_cpp:
            continue
        for line, bracket, include in source.includes:
            if include.startswith("spillway/"):
                module = module_of_include(include)
                if module != source.module and module not in MAY_SEE.get(source.module, set()):
                    yield source.path, line, f"{source.module} may not include {include}"
            elif "../" in include:
                yield source.path, line, f"{include} leaves the folder: include a public header instead"
            elif bracket == '"' and source.module != "tests":
                found = target_of(source, include, files)
                if found and files[found].module != source.module:
                    yield source.path, line, f"{include} is private to {files[found].module}"


def include_owners(files):
    for source in files.values():
        if not source.is_cpp:
            continue
        for line, bracket, include in source.includes:
            if include.startswith("spillway/") or target_of(source, include, files):
                continue
            library = library_of(include)
            if library and not owned(source, library):
                yield source.path, line, f"{library} belongs to {', '.join(owners_of(library))}: {include}"
            elif library and source.is_public_header and library != "libtorch":
                yield source.path, line, f"a public header shows {library}: {include}"
            elif not library and "/" in include and not EVERYWHERE.match(include) and not include.endswith(".inc"):
                if bracket == "<" or source.module != "tests":
                    yield source.path, line, f"{include} is of a library that has no owner yet"


def link_edges(files):
    """What CMakeLists.txt link, against the same two tables."""
    homes = {}
    for source in files.values():
        if source.suffix == ".cmake":
            for name in re.findall(r"spillway_library\(\s*NAME\s+(\w+)", source.text):
                homes[name] = source.module
    for source in files.values():
        if source.suffix != ".cmake" or source.module in ("", "cmake", "tests"):
            continue
        for number, line in enumerate(source.lines, 1):
            line = line.split("#")[0]
            for name in re.findall(r"\bspillway::(\w+)", line):
                home = homes.get(name)
                if home and home != source.module and home not in MAY_SEE.get(source.module, set()):
                    yield source.path, number, f"{source.module} may not link spillway::{name} of {home}"
            for _, pattern, library, owners in OWNERS:
                if re.search(pattern, line) and not any(source.path.startswith(owner) for owner in owners):
                    yield source.path, number, f"{library} belongs to {', '.join(owners)}"


def torch_apart(files):
    """No translation unit sees libtorch's headers and those that libtorch brings its own copy of."""
    reach = {}

    def libraries(path, trail):
        if path in reach:
            return reach[path]
        reach[path] = {}
        result = {}
        for _, _, include in files[path].includes:
            found = target_of(files[path], include, files)
            if found and files[found].is_cpp and found not in trail:
                for library, chain in libraries(found, trail | {path}).items():
                    result.setdefault(library, [path] + chain)
            elif not found and library_of(include):
                result.setdefault(library_of(include), [path, include])
        reach[path] = result
        return result

    for path, source in files.items():
        if not source.is_cpp:
            continue
        seen = libraries(path, frozenset())
        for other in NEVER_WITH_TORCH:
            if "libtorch" in seen and other in seen:
                yield path, 1, (f"sees libtorch ({' > '.join(seen['libtorch'])}) and {other} "
                                f"({' > '.join(seen[other])})")


RULES = {"edge": include_edges, "owner": include_owners, "link": link_edges, "torch": torch_apart}

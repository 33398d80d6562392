# SPDX-License-Identifier: MIT
"""The binding's tables against the headers, the library and the compiler."""

import ctypes
import os
import subprocess
import sys

import pytest

import headers
from executr import _calls, _embed, _errors, _structs
from executr._abi import FUNCTIONS

STRUCTS = {
    name: getattr(
        _structs, "".join(w.capitalize() for w in name.split("_")[1:]))
    for name in headers.structs()}

PLAIN = {
    "void": None, "int32_t": ctypes.c_int32, "uint32_t": ctypes.c_uint32,
    "int64_t": ctypes.c_int64, "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t, "double": ctypes.c_double,
    "executr_status": ctypes.c_int32, "executr_write": _structs.WRITE,
    "executr_read": _structs.READ, "executr_progress": _structs.PROGRESS,
    "executr_fetch": _structs.FETCH, "executr_ended": _structs.ENDED,
    "char*": ctypes.c_char_p, "void*": ctypes.c_void_p}

# Bytes with a length beside them: c_char_p would stop at a NUL.
BYTES = {"executr_job_stdout", "executr_job_stderr",
         "executr_result_stdout", "executr_result_stderr"}


def expected(c_type):
    if c_type in PLAIN:
        return PLAIN[c_type]
    if c_type.endswith("*"):
        target = c_type[:-1]
        if target in STRUCTS:
            return ctypes.POINTER(STRUCTS[target])
        if target.startswith("executr_") and target not in PLAIN \
                and not target.endswith("*"):
            return ctypes.c_void_p
        return ctypes.POINTER(expected(target))
    raise KeyError(c_type)


def test_every_exported_symbol_has_a_row():
    output = subprocess.run(
        ["nm", "-D", "--defined-only", "--format=posix",
         os.environ["EXECUTR_LIBRARY"]],
        check=True, capture_output=True, text=True).stdout
    exported = {line.split()[0].split("@")[0] for line in output.splitlines()}
    assert exported == set(FUNCTIONS)


def test_rows_have_the_types_of_the_headers():
    declared = headers.functions()
    assert set(declared) == set(FUNCTIONS)
    wrong = []
    for name, (result, parameters) in declared.items():
        want = (ctypes.c_void_p if name in BYTES else expected(result),
                [expected(p) for p in parameters])
        if FUNCTIONS[name] != want:
            wrong.append((name, want, FUNCTIONS[name]))
    assert not wrong


def layout_by_compiler(tmp_path):
    """struct or struct.field -> (size, offset) as the C compiler has them."""
    lines = []
    for name, fields in headers.structs().items():
        lines.append(f'printf("{name} %zu 0\\n", sizeof({name}));')
        for field in fields:
            lines.append(
                f'printf("{name}.{field} %zu %zu\\n", '
                f"sizeof((({name} *)0)->{field}), offsetof({name}, {field}));")
    source = tmp_path / "layout.c"
    source.write_text(
        "#include <executr/executr.h>\n#include <stddef.h>\n"
        "#include <stdio.h>\nint main(void)\n{\n" + "\n".join(lines) + "\n}\n")
    program = tmp_path / "layout"
    subprocess.run(
        ["cc", "-I", headers.INCLUDE, source, "-o", program], check=True)
    output = subprocess.run(
        [program], check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in output.splitlines())
    return {name: (int(size), int(offset)) for name, size, offset in rows}


def test_structs_are_laid_out_as_the_compiler_does(tmp_path):
    ours = {}
    for name, struct in STRUCTS.items():
        ours[name] = (ctypes.sizeof(struct), 0)
        for field, *_ in struct._fields_:
            at = getattr(struct, field)
            ours[f"{name}.{field}"] = (at.size, at.offset)
    assert ours == layout_by_compiler(tmp_path)


def test_numbers_with_a_word_in_python_are_those_of_the_headers():
    numbers = headers.constants()
    for number, name in _calls.VERDICTS.items():
        assert numbers[f"EXECUTR_LEASE_{name.upper()}"] == number
    for number, name in _embed._EVENTS.items():
        assert numbers[f"EXECUTR_EVENT_{name.upper()}"] == number
    for name, number in _calls.STATUSES.items():
        assert numbers[f"EXECUTR_ATTEMPT_{name.upper()}"] == number
    assert numbers["EXECUTR_PART_ALL"] == _embed._PARTS


def test_every_status_has_an_exception():
    source = (headers.INCLUDE / "executr" / "base.h").read_text()
    count = source.count("    X(-")
    assert sorted(_errors.CLASSES) == list(range(-count, 0))


def load(library, **more):
    """What importing the package with this library says, and its status."""
    done = subprocess.run(
        [sys.executable, "-c", "import executr"], capture_output=True,
        text=True,
        env={**os.environ, "EXECUTR_LIBRARY": str(library), **more})
    return done.returncode, done.stderr


def build(tmp_path, source):
    library = tmp_path / "libother.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library],
        input=source, text=True, check=True)
    return library


def test_loading_names_the_file_and_the_variable():
    status, message = load("/nowhere/libexecutr.so")
    assert status == 1
    assert "/nowhere/libexecutr.so" in message
    assert "EXECUTR_LIBRARY" in message


def test_an_older_library_is_refused(tmp_path):
    library = build(tmp_path, "int executr_version(void) { return 0; }")
    status, message = load(library)
    assert status == 1 and "older than this package" in message


def test_another_abi_is_refused(tmp_path):
    source = "".join(
        f"int {name}(void) {{ return 7; }}\n" for name in FUNCTIONS)
    status, message = load(build(tmp_path, source))
    assert status == 1 and "ABI 7" in message


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_sized_structs_say_their_size(name):
    struct = STRUCTS[name]
    if struct._fields_[0][0] == "struct_size":
        assert struct().struct_size == ctypes.sizeof(struct)
    else:
        assert name in {"executr_error", "executr_log", "executr_events",
                        "executr_lease"}

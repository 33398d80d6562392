# SPDX-License-Identifier: MIT
"""Reads the public headers: functions with their types, structs, constants."""

import pathlib
import re

INCLUDE = pathlib.Path(__file__).resolve().parents[2] / "include"


def text():
    """All headers without comments and preprocessor lines, in one line."""
    parts = []
    for header in sorted((INCLUDE / "executr").glob("*.h")):
        source = re.sub(r"/\*.*?\*/", " ", header.read_text(), flags=re.S)
        parts.append(re.sub(r"^[ \t]*#(?:\\\n|.)*", "", source, flags=re.M))
    return re.sub(r"\s+", " ", " ".join(parts))


def type_of(declaration):
    """A parameter or result without its name, const, and odd spaces."""
    array = "*" if "[" in declaration else ""
    declaration = re.sub(r"\[.*?\]", "", declaration)
    words = re.findall(r"\w+|\*", declaration)
    words = [word for word in words if word != "const"]
    stars = "*" * words.count("*") + array
    names = [word for word in words if word != "*"]
    return names[0] + stars


def functions():
    """name -> (result, [parameters]) of every exported function."""
    found = {}
    pattern = r"EXECUTR_API ([\w *]*?)(executr_\w+)\(([^)]*)\)"
    for result, name, parameters in re.findall(pattern, text()):
        listed = [p.strip() for p in parameters.split(",")]
        types = [] if listed == ["void"] else [type_of(p) for p in listed]
        found[name] = (type_of(result), types)
    return found


def structs():
    """name -> [field names] of every struct that has a body."""
    found = {}
    pattern = r"typedef struct (executr_\w+) \{(.*?)\} \1;"
    for name, body in re.findall(pattern, text()):
        fields = []
        for field in body.split(";"):
            hook = re.search(r"\(\*(\w+)\)", field)
            plain = re.search(r"(\w+)(?:\[\w+\])?\s*$", field)
            if hook or plain:
                fields.append((hook or plain).group(1))
        found[name] = fields
    return found


def constants():
    """name -> value of every enumerator with a number."""
    pattern = r"\b(EXECUTR_[A-Z_]+) = (\d+)"
    return {name: int(value) for name, value in re.findall(pattern, text())}

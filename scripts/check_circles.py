#!/usr/bin/env python3
"""Refuses circles of imports: prints each set of modules of one crate that use each other in a ring.

    scripts/check_circles.py            every crate of shared/ and bins/; exits 1 if there is a circle
    scripts/check_circles.py --why      also says, for each use inside a circle, which names it is for

A module is a file. Module A uses module B where A names something of B: through `use`, or by a path in the code
(`crate::b::f`, `super::b::f`, `b::f` of a module that A declares or imports). Where B only re-exports it, A uses B and
the module that defines it too. A module that declares its children and re-exports their names uses none of them by
that. Parts under `#[cfg(test)]` do not count, and neither do comments and strings. It reads rustfmt's layout: what
begins in the first column is an item of the file.
"""

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

ITEM = re.compile(
    r"^(?:pub(?:\([^)]*\))? )?(?:default |async |const |unsafe |extern \"[^\"]*\" |extern )*"
    r"(?:fn|struct|enum|trait|type|const|static|union|macro_rules!) +(?:mut )?([A-Za-z_]\w*)",
    re.M,
)
USE = re.compile(r"^([ \t]*)(pub(?:\([^)]*\))? )?use ([^;]+);", re.M)
PATH = re.compile(r"(?<![\w:.$])((?:crate|super|self|[a-z_]\w*)(?:::[A-Za-z_]\w*)+)")
HIDDEN = re.compile(
    r"//[^\n]*|/\*.*?\*/|b?r(#*)\".*?\"\1|b?\"(?:\\.|[^\"\\])*\"|b?'(?:\\[^']+|[^'\\])'", re.S
)


@dataclass
class Module:
    path: tuple
    file: Path
    text: str
    items: set = field(default_factory=set)
    # What a name means here: by `use` and by `mod`, as the path of a module with what is named in it.
    names: dict = field(default_factory=dict)
    globs: list = field(default_factory=list)


def without_comments(text):
    """The text without comments, strings and characters, with its lines."""
    return HIDDEN.sub(lambda m: "\n" * m.group(0).count("\n") + ("" if m.group(0)[0] == "/" else '""'), text)


def without_tests(text):
    """The text without what stands under `#[cfg(test)]`, and the names of the modules that are declared so."""
    kept, tests, lines, i = [], set(), text.split("\n"), 0
    while i < len(lines):
        if not re.match(r"\s*#\[cfg\((?:test|all\(test\b.*)\)\]", lines[i]):
            kept.append(lines[i])
            i += 1
            continue
        indent = re.match(r"\s*", lines[i]).group(0)
        i += 1
        while re.match(r"\s*#\[", lines[i]):
            i += 1
        declared = re.match(r"\s*(?:pub(?:\([^)]*\))? )?mod (\w+);", lines[i])
        if declared:
            tests.add(declared.group(1))
        # To the end of the item: a line that closes it, or one that ends with `;` or `,` before any brace opens.
        opened = False
        while i < len(lines):
            line = lines[i]
            begins, opened = not opened, opened or "{" in line
            i += 1
            if not opened and line.rstrip().endswith((";", ",")):
                break
            if opened and (line.startswith(indent + "}") or (begins and line.count("{") == line.count("}") > 0)):
                break
    return "\n".join(kept), tests


def read(source):
    """The modules of the crate in `source`, by path."""
    modules, waiting = {}, [((), root) for root in (source / "lib.rs", source / "main.rs") if root.is_file()]
    if len(waiting) == 2:
        # A program with a library of its own: the library is the crate, and main.rs uses it from outside.
        waiting = waiting[:1]
    while waiting:
        path, file = waiting.pop()
        text, tests = without_tests(without_comments(file.read_text()))
        module = Module(path, file, text, set(ITEM.findall(text)))
        modules[path] = module
        folder = file.parent if file.name in ("lib.rs", "main.rs", "mod.rs") else file.with_suffix("")
        for name in re.findall(r"^[ \t]*(?:pub(?:\([^)]*\))? )?mod (\w+);", text, re.M):
            if name in tests:
                continue
            found = [f for f in (folder / f"{name}.rs", folder / name / "mod.rs") if f.is_file()]
            if not found:
                sys.exit(f"{file}: no file of the module '{name}'")
            module.names[name] = (path + (name,), None)
            waiting.append((path + (name,), found[0]))
    for module in modules.values():
        for _, _, tree in USE.findall(module.text):
            for parts, alias in flat(tree):
                target = absolute(module, parts, modules)
                if target is None:
                    continue
                if parts[-1] == "*":
                    module.globs.append(target[:-1])
                else:
                    module.names.setdefault(alias, split(target, modules))
    return modules


def flat(tree):
    """The paths of a use: `a::{b, c as d}` is `a::b` and `a::c` by the name `d`."""
    tree = " ".join(tree.split())

    def walk(prefix, text):
        depth, start, parts = 0, 0, []
        for i, c in enumerate(text + ","):
            depth += c == "{"
            depth -= c == "}"
            if c == "," and depth == 0:
                parts.append(text[start:i].strip())
                start = i + 1
        for part in filter(None, parts):
            if "{" in part:
                head, rest = part.split("{", 1)
                inner = [p for p in head.rstrip(": ").split("::") if p]
                yield from walk(prefix + inner, rest.rsplit("}", 1)[0])
                continue
            path, _, alias = part.partition(" as ")
            whole = prefix + [p.strip() for p in path.strip().split("::") if p.strip()]
            if whole[-1] == "self":
                whole = whole[:-1]
            yield tuple(whole), alias.strip() or whole[-1]

    yield from walk([], tree)


def absolute(module, parts, modules):
    """A path of the source as one from the crate's root, or none where it leads to another crate."""
    if parts[0] == "crate":
        return parts[1:]
    if parts[0] == "self":
        return module.path + parts[1:]
    if parts[0] == "super":
        path = module.path
        while parts and parts[0] == "super":
            if not path:
                return None
            path, parts = path[:-1], parts[1:]
        return path + parts
    if module.path + parts[:1] in modules:
        return module.path + parts
    known = module.names.get(parts[0])
    if known and known[1] is None:
        return known[0] + parts[1:]
    return None


def split(path, modules):
    """The longest beginning of a path that is a module, and what is named in it."""
    for end in range(len(path), -1, -1):
        if path[:end] in modules:
            return path[:end], path[end] if end < len(path) else None
    return (), path[0] if path else None


def defined(path, name, modules, seen=()):
    """The module that defines what module `path` calls `name`, through its imports and re-exports."""
    module = modules[path]
    if name is None or name in module.items or (path, name) in seen:
        return path
    seen = (*seen, (path, name))
    if name in module.names:
        of, what = module.names[name]
        return defined(of, what, modules, seen) if what else of
    for glob in module.globs:
        of, what = split(glob, modules)
        if what is None and of != path and knows(of, name, modules):
            return defined(of, name, modules, seen)
    return path


def knows(path, name, modules):
    return name in modules[path].items or name in modules[path].names


def uses(module, modules):
    """For each module that this one uses, the names that it is used for."""
    found = {}

    def add(path, name):
        for target in {path, defined(path, name, modules)}:
            found.setdefault(target, set()).add(name)

    body = USE.sub("", module.text)
    for _, is_public, tree in USE.findall(module.text):
        for parts, alias in flat(tree):
            target = absolute(module, parts, modules)
            if target is None:
                continue
            path, name = split(target if parts[-1] != "*" else target[:-1], modules)
            # A re-export alone uses nothing; an imported module is used by the paths that begin with it.
            if parts[-1] == "*":
                if not is_public:
                    found.setdefault(path, set()).add("*")
            elif name is not None and (not is_public or re.search(rf"\b{alias}\b", body)):
                add(path, name)
    for path in PATH.findall(body):
        target = absolute(module, tuple(path.split("::")), modules)
        if target is not None:
            of, name = split(target, modules)
            if name is not None:
                add(of, name)
    found.pop(module.path, None)
    return found


def circles(graph):
    """The strongly connected components with more than one member (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in graph[v]:
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in stack:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            component = []
            while not component or component[-1] != v:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    sys.setrecursionlimit(10_000)
    for v in sorted(graph):
        if v not in index:
            visit(v)
    return found


def main():
    root, why = Path(__file__).resolve().parent.parent, "--why" in sys.argv[1:]
    total = 0
    for source in sorted([*root.glob("shared/*/src"), *root.glob("bins/*/src")]):
        modules = read(source)
        graph = {path: uses(module, modules) for path, module in modules.items()}
        for circle in circles(graph):
            total += 1
            name = lambda path: "::".join(path) or "(root)"
            print(f"{source.parent.name}: {', '.join(map(name, circle))}")
            if why:
                for path in circle:
                    for of in sorted(set(graph[path]) & set(circle)):
                        print(f"    {name(path)} uses {name(of)} for {', '.join(sorted(graph[path][of]))}")
    if total:
        sys.stdout.flush()
        sys.exit(f"{total} circles of imports: move what both sides need into a module below both")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Which lines of the product's CUDA code the tests execute.

    lines.py ROOT FOLDER [--at-least PERCENT]

Adds up the files that processes left under TRIREME_VGPU_LINES=FOLDER, and prints for each file of the product below
ROOT how many lines have instructions in some kernel, how many of them were executed, and then the text of the others.
"""
import argparse
import collections
import pathlib
import sys

PRODUCT = ("kernels", "parallel", "data", "trainer", "launch")


def in_product(path, root):
    """The path relative to the root, or None; objects may have been compiled in another copy of the tree."""
    parts = []
    for part in pathlib.PurePath(path).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    for i in range(len(parts)):
        tail = pathlib.PurePath(*parts[i:])
        if (root / tail).is_file() and not tail.is_absolute():
            return str(tail) if parts[i] in PRODUCT else None
    return None


def read(folder, root):
    """file -> line -> whether it was executed."""
    lines = collections.defaultdict(dict)
    known = {}
    for report in folder.glob("*.lines"):
        for entry in report.read_text().splitlines():
            executed, place = entry.split(" ", 1)
            path, number = place.rsplit(":", 1)
            if path not in known:
                known[path] = in_product(path, root)
            if known[path]:
                file = lines[known[path]]
                file[int(number)] = file.get(int(number), False) or executed == "1"
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--at-least", type=float, default=0, metavar="PERCENT", help="fail below that share")
    arguments = parser.parse_args()

    lines = read(arguments.folder, arguments.root.resolve())
    if not lines:
        sys.exit(f"{arguments.folder} has no lines of {arguments.root}: was it given to tests as TRIREME_VGPU_LINES?")
    print("with code  executed   share  file")
    total = executed = 0
    for path, of_file in sorted(lines.items()):
        count = sum(of_file.values())
        print(f"{len(of_file):9} {count:9} {100 * count / len(of_file):6.1f}%  {path}")
        total, executed = total + len(of_file), executed + count
    share = 100 * executed / total
    print(f"{total:9} {executed:9} {share:6.1f}%  in all")
    for path, of_file in sorted(lines.items()):
        text = (arguments.root / path).read_text().splitlines()
        for number in sorted(n for n, was in of_file.items() if not was):
            print(f"never executed: {path}:{number}: {text[number - 1].strip()}")
    if share < arguments.at_least:
        sys.exit(f"{share:.2f} % of the lines are executed, and {arguments.at_least:g} % are asked for")


if __name__ == "__main__":
    main()

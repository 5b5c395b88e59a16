#!/usr/bin/env python3
"""Checks that code for a newer instruction set can only run where that was chosen at run time.

Usage: isa_test.py LEVEL OBJECT...   with the objects of one level's vector kernels.

The linker keeps one copy of an inline function that several objects define.  If an object for v4 defined one that
other levels define too, with AVX instructions in it, that copy could be the one kept.  So each function in these
objects must either be named after the level (a symbol of namespace trireme::cpu::LEVEL) or be portable.
"""
import re
import subprocess
import sys


def functions(path):
    """Yields (symbol, its instructions as text) of an object file."""
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], check=True, capture_output=True,
                          text=True).stdout
    for match in re.finditer(r"^[0-9a-f]+ <(.+)>:\n((?:.+\n?)*)", text, re.M):
        yield match.group(1), match.group(2)


def main():
    level, paths = sys.argv[1], sys.argv[2:]
    # Instructions of AVX and later begin with v; those of BMI2 and such have names of their own.
    newer = re.compile(r"\s(v[a-z0-9]+|mulx|rorx|sarx|shlx|shrx|pdep|pext|andn|bextr|blsr|lzcnt|movbe)\s")
    own_name = f"{len(level)}{level}"  # as mangled
    bad, own_newer = [], 0
    for path in paths:
        for symbol, code in functions(path):
            uses_newer = newer.search(code) is not None
            if own_name in symbol:
                own_newer += uses_newer
            elif uses_newer:
                bad.append(f"{path}: {symbol}: {newer.search(code).group(0).strip()}")
    if bad:
        sys.exit("not portable, and not named after the level:\n" + "\n".join(bad))
    if level == "baseline" and own_newer:
        sys.exit(f"{own_newer} functions of the baseline are not portable")
    if level != "baseline" and own_newer == 0:
        sys.exit(f"no function uses {level}: the level is not switched on")
    print(f"{level}: {len(paths)} objects, {own_newer} functions use instructions beyond the baseline")


if __name__ == "__main__":
    main()

"""Allocates in CPython: containers, text, exceptions, generators, sorting by key, modules written in C, threads."""

import json
import os
import re
import struct
import threading


class Tree:
    def __init__(self, depth):
        self.children = [Tree(depth - 1) for _ in range(2)] if depth else []
        self.name = "tree %d" % depth

    def __repr__(self):
        return "Tree(%s)" % ", ".join(map(repr, self.children))

    def __lt__(self, other):
        return len(self.name + "x") < len(other.name + "y")


def fail(depth):
    if depth:
        try:
            fail(depth - 1)
        finally:
            str(depth) * 3
    raise ValueError("at the bottom")


def generate(count):
    for index in range(count):
        yield {index: [index] * 3}


def work():
    repr(Tree(2))
    sorted([Tree(0) for _ in range(4)])
    sorted(["b", "aa", "ccc"], key=lambda text: text.upper() * 2)
    try:
        fail(3)
    except ValueError as error:
        str(error).split()
    list(generate(3))
    json.loads(json.dumps({"a": [1, 2.5, None], "b": {"c": "text" * 20}}))
    re.sub(r"(\w+) (\w+)", lambda match: match.group(2) * 2, "one two three four")
    struct.pack("<10sI", b"bytes", 7)
    "%s and %r" % ("a" * 100, [b"b" * 50])


work()
os.getppid()
work()
thread = threading.Thread(target=work)
thread.start()
thread.join()
os.getppid()

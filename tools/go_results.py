#!/usr/bin/env python3
"""Reads the output of `go test -json` and prints what tools/tally.py counts.

    go test -json ... | tools/go_results.py

Failed tests are printed with their output, of passed ones only the lines `works: ...` and `connector: ...`. Skipped tests are
named with their reason. The exit status is 1 if a test or a package failed.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict

MARKS = ("works: ", "connector: ", "not tried", "skipped: ")


def main() -> int:
    started = time.monotonic()
    output: dict[tuple[str, str], list[str]] = defaultdict(list)
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    parents = set()
    for line in sys.stdin:
        try:
            event = json.loads(line)
        except ValueError:
            print(line, end="")
            continue
        package, test = event.get("Package", event.get("ImportPath", "")), event.get("Test", "")
        key = (package, test)
        if "/" in test:
            parents.add((package, test.rpartition("/")[0]))
        action = event["Action"]
        if action in ("output", "build-output"):
            text = event["Output"]
            output[key].append(text)
            if text.startswith(MARKS):
                print(text, end="")
        elif action in ("fail", "build-fail"):
            print("".join(output.pop(key, [])), end="")
            print(f"FAILED {package} {test}".rstrip())
            # A package fails with its tests, or by itself.
            if test or not counts["failed"]:
                counts["failed"] += key not in parents
        elif action == "pass":
            output.pop(key, None)
            counts["passed"] += bool(test) and key not in parents
        elif action == "skip" and test:
            reason = " ".join(text.strip() for text in output.pop(key, []) if not text.startswith(("=== ", "--- ")))
            print(f"SKIPPED [1] {test}: {reason}")
            counts["skipped"] += 1
        sys.stdout.flush()
    failed = counts["failed"]
    words = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "0 passed"
    print(f"{words} in {time.monotonic() - started:.2f}s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

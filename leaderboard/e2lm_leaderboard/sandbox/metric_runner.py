"""What runs inside the sandbox: the item metric of a bundle. Standard library only, and no import of ours.

Reads a line of items, answers with a line of numbers, and gets the next line only then. Loads ``/job/code/FILE``.
"""

import importlib.util
import json
import os
import sys


def main() -> None:
    """Answer until nobody asks."""
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the metric prints is nobody's answer
    file, name = sys.argv[1:3]
    spec = importlib.util.spec_from_file_location("bundle_metric", "/job/code/" + file)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    function = getattr(module, name)
    for line in questions:
        numbers = [function(item) for item in json.loads(line)]
        answers.write(json.dumps(numbers, allow_nan=False) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

"""Make questions about images of digits: python questions.py digit-strings/train.tar [ROUNDS] > train.jsonl

Write the table beside the tar: its paths name members of the tar. Each image gets three questions per round, drawn with a fixed
seed: how many digits there are, which digit is at a place, and whether a digit is there (yes and no equally often).
"""

import json
import random
import sys
import tarfile
from pathlib import Path

DIGITS = "zero one two three four five six seven eight nine".split()
PLACES = "first second third fourth".split()


def questions(names):
    yield "how many digits?", DIGITS[len(names)]
    place = random.randrange(len(names))
    yield f"what is the {PLACES[place]} digit?", names[place]
    there = random.random() < 0.5
    asked = random.choice(names if there else [digit for digit in DIGITS if digit not in names])
    yield f"is there a {asked}?", "yes" if there else "no"


random.seed(0)
tar = Path(sys.argv[1])
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 1
with tarfile.open(tar) as members:
    for member in members:
        if member.name.endswith(".txt"):
            names = members.extractfile(member).read().decode().split()
            path = f"{tar.stem}/{member.name.removesuffix('.txt')}.png"
            for _ in range(rounds):
                for question, answer in questions(names):
                    print(json.dumps({"path": path, "question": question, "answer": answer, "names": " ".join(names)}))

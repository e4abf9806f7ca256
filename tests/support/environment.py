"""An environment in its own process, with Python's standard library alone: `python3 environment.py MANNER`.

The manner `cartpole` equals the built-in cartpole bit for bit. Most other manners send an invalid answer, at the first
request or at a given step.
"""

import base64
import json
import math
import os
import struct
import subprocess
import sys
import time

# The random generator of the built-in cartpole: PCG's MCG with 128 bits of state (XSL RR), seeded by PCG32.
MASK64, MASK128 = (1 << 64) - 1, (1 << 128) - 1


def seeded(seed):
    words = b""
    for _ in range(4):
        seed = (seed * 0x5851_F42D_4C95_7F2D + 0xA176_54E4_6FBE_17F3) & MASK64
        mixed, turn = (((seed >> 18) ^ seed) >> 27) & 0xFFFF_FFFF, seed >> 59
        words += struct.pack("<I", (mixed >> turn | mixed << (32 - turn)) & 0xFFFF_FFFF)
    return int.from_bytes(words, "little") | 1


def uniforms(seed, n):
    state = seeded(seed)
    for _ in range(n):
        state = state * 0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645 & MASK128
        mixed, turn = (state >> 64 ^ state) & MASK64, state >> 122
        yield (((mixed >> turn | mixed << (64 - turn)) & MASK64) >> 11) / 2**53


# Sine and cosine near 0 with the polynomials of FreeBSD's msun, as in the built-in cartpole. Python's depend on the
# machine, and an unstable pole doubles a difference in the last bit every ten steps.
def sine(x):
    z = x * x
    w = z * z
    r = (
        8.33333333332248946124e-03
        + z * (-1.98412698298579493134e-04 + z * 2.75573137070700676789e-06)
        + z * w * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)
    )
    return x + z * x * (-1.66666666666666324348e-01 + z * r)


def cosine(x):
    z = x * x
    w = z * z
    r = z * (
        4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * 2.48015872894767294178e-05)
    ) + w * w * (
        -2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)
    )
    half = 0.5 * z
    near = 1.0 - half
    return near + (((1.0 - near) - half) + z * r)


def pushed(state, force):
    position, velocity, angle, spin = state
    sin, cos = sine(angle), cosine(angle)
    push = (force + 0.05 * (spin * spin) * sin) / 1.1
    angular = (9.8 * sin - cos * push) / (0.5 * (4.0 / 3.0 - 0.1 * (cos * cos) / 1.1))
    acceleration = push - 0.05 * angular * cos / 1.1
    return [position + 0.02 * velocity, velocity + 0.02 * acceleration, angle + 0.02 * spin, spin + 0.02 * angular]


def send(answer):
    print(answer if isinstance(answer, str) else json.dumps(answer), flush=True)


def requests():
    for line in sys.stdin:
        request = json.loads(line)
        if "close" in request:
            print("closing", file=sys.stderr)
            return
        yield request


def cartpole(dictionary=False):
    hello = {"protocol": 1, "observation": 4, "action": {"discrete": 2}, "max_steps": 500}
    if dictionary:  # a single environment, whose answers have no number, with the parts in another order
        hello |= {"observation": {"cart": 2, "pole": 2}, "envs": 1}
    send({"hello": hello})
    states = {}
    for request in requests():
        env = request["env"]
        if "reset" in request:
            states[env] = [0.05 * (2.0 * u - 1.0) for u in uniforms(request["reset"]["seed"], 4)]
        else:
            states[env] = pushed(states[env], 10.0 if request["step"]["action"] == 1 else -10.0)
        state = states[env]
        answer = {"env": env, "observation": state}
        if dictionary:
            assert env == 0, env
            answer = {"observation": {"pole": [state[2:]], "cart": [[state[0]], state[1]]}}
        if "step" in request:
            over = abs(state[0]) > 2.4 or abs(state[2]) > 12.0 * 2.0 * math.pi / 360.0
            # The bridge applies the time limit.
            answer |= {"reward": 1.0, "terminated": over, "truncated": False}
        send(answer)


def eye(manner):
    """Images of which one half is lit; the action of that half earns a reward of 1."""
    hello = {"protocol": 1, "images": ["front"], "action": {"discrete": 2}, "max_steps": 4}
    if manner == "eye-twice":  # a camera that the policy does not read
        hello["images"] = ["front", "side"]
    if manner == "eye-other":
        hello["images"] = ["side"]
    send({"hello": hello})
    sides = {}
    for request in requests():
        env = request["env"]
        answer = {"env": env}
        if "reset" in request:
            sides[env] = list(uniforms(request["reset"]["seed"], 5))
        else:
            right = request["step"]["action"] == int(sides[env].pop(0) > 0.5)
            answer |= {"reward": float(right), "terminated": False, "truncated": False}
        width = 3 if manner == "eye-narrow" else 4
        lit = int(sides[env][0] > 0.5)
        pixels = [200 if x * 2 // width == lit else 20 for _ in range(4) for x in range(width)]
        image = {"height": 4, "width": width, "channels": 1, "pixels": base64.b64encode(bytes(pixels)).decode()}
        send(answer | {"images": {name: image for name in hello["images"]}})


HELLO = {"protocol": 1, "observation": 4, "action": {"discrete": 2}}
STATE = {"observation": [0, 0, 0, 0]}
STEP = STATE | {"reward": 1, "terminated": False, "truncated": False}

# The answer to each request, after the greeting; the last answer repeats.
ANSWERS = {
    "well": [{"hello": HELLO}, STATE, STEP],
    "greeting": ["welcome to the arena"],
    "version": [{"hello": {"protocol": 2}}],
    "chatter": [{"hello": HELLO}, "ready!"],
    "number": [{"hello": HELLO}, "17"],
    "no-reward": [{"hello": HELLO}, STATE, STATE | {"terminated": False, "truncated": False}],
    "unknown": [{"hello": HELLO}, STATE | {"colour": "red"}],
    "nan": [{"hello": HELLO}, {"observation": [0, math.nan, 0, 0]}],
    "huge": [{"hello": HELLO}, {"observation": [0, 1e300, 0, 0]}],
    "nan-reward": [{"hello": HELLO}, STATE, STEP | {"reward": math.nan}],
    "narrow": [{"hello": HELLO}, {"observation": [0, 0, 0]}],
    "other": [{"hello": HELLO}, STATE | {"env": 3}],
    "error": [{"hello": HELLO}, {"error": "the arena is on fire"}],
    "twice": [{"hello": HELLO}, json.dumps(STATE) + "\n" + json.dumps(STATE), STEP],
}


def main():
    manner = sys.argv[1]
    print("about to be", manner, file=sys.stderr, flush=True)
    if manner in ("cartpole", "dictionary"):
        return cartpole(manner == "dictionary")
    if manner.startswith("eye"):
        return eye(manner)
    if manner == "mute":
        time.sleep(600)
    if manner == "deaf":  # with a child process that holds its pipes
        started = os.fork()
        if started:
            with open(sys.argv[2], "w") as file:
                file.write(str(started))
            send({"hello": HELLO})
        time.sleep(600)
    if manner == "parent":  # ends well, and leaves a process with a session of its own
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        child = subprocess.Popen(["sleep", "600"], start_new_session=True, **options)
        with open(sys.argv[2], "w") as file:
            file.write(str(child.pid))
        manner = "well"
    if manner == "flood":
        send({"hello": HELLO})
        while True:
            sys.stdout.write("x" * 100_000)
    if manner == "dies":
        send({"hello": HELLO})
        sys.stdin.readline()
        print("\n".join(f"frame {n}" for n in range(1000)), file=sys.stderr)
        sys.exit("a wheel came off")
    answers = ANSWERS[manner]
    send(answers[0])
    for n, _ in enumerate(requests(), 1):
        send(answers[min(n, len(answers) - 1)])


main()

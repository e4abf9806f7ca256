#!/usr/bin/env python3
"""Any task of Gymnasium, for `smalti rollout`.

    pip install 'gymnasium[mujoco]'
    smalti rollout runs/hopper --env "python examples/gymnasium_bridge.py Hopper-v5" --target-return 1400
    ... --env "python examples/gymnasium_bridge.py CartPole-v1 --make-arg sutton_barto_reward=true"
    ... --env "python examples/gymnasium_bridge.py CartPole-v1 --render"

It needs gymnasium and what the task itself wants, and nothing of smalti. Nothing is rendered but with --render, which
shows the policy each step as an image named "render".

The protocol: requests come on standard input and answers go to standard output, one JSON object a line, in the same
order. `env` numbers environments side by side; they are made as they are asked for.

    (first, unasked)                         {"hello": {"protocol": 1, "observation": 11,
                                               "action": {"continuous": {"low": [-1, …], "high": [1, …]}},
                                               "max_steps": 1000}}
    {"env": 0, "reset": {"seed": 7}}         {"env": 0, "observation": [1.25, …]}
    {"env": 0, "step": {"action": [0.5, …]}} {"env": 0, "observation": […], "reward": 1.0,
                                               "terminated": false, "truncated": false}
    {"close": {}}                            (ends)

Where there is something to see, the greeting names it, "images": ["front"], and each observation has it beside its
numbers, or in their place: "images": {"front": {"height": 84, "width": 84, "channels": 3, "pixels": "base64 …"}},
row by row.

A discrete action is one number, for which the greeting says {"discrete": n}; one of several parts is an object, for
which it says {"parts": {"arm": {"continuous": …}, "grip": {"discrete": n}}}. A bound that is null is none. Whatever
goes wrong is {"error": "what"}, and ends it.

Observations are flattened to one list: arrays row by row, the parts of a dict in the order of their names, those of a
tuple one behind another. Boxes of bytes, [height, width] or with 1 or 3 channels behind, are images: the name is that
of the part, and empty where it is all of the observation. Several choices at once are parts named 0, 1, …, or 00, 01, … where there are more than ten.
"""

import argparse
import base64
import json
import math
import os
import sys

import gymnasium
import numpy
from gymnasium import spaces

PROTOCOL = 1


def is_image(space):
    """Whether observations of this space are images."""
    if not (isinstance(space, spaces.Box) and space.dtype == numpy.uint8):
        return False
    return len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[2] in (1, 3))


def parts(space):
    """The parts of a space by their keys, in order; none of one that has no parts."""
    if isinstance(space, spaces.Dict):
        return sorted(space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return list(enumerate(space.spaces))
    return []


def look(observation, space, name=""):
    """All numbers of an observation in one list, and its images by their names."""
    if is_image(space):
        return [], {name: observation}
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        return numpy.asarray(observation, dtype=numpy.float64).ravel().tolist(), {}
    numbers, images = [], {}
    for key, part in parts(space):
        more, seen = look(observation[key], part, f"{name}.{key}" if name else str(key))
        numbers += more
        images |= seen
    return numbers, images


def cameras(space, name=""):
    """The names of the images that `look` finds."""
    if is_image(space):
        return [name]
    return [found for key, part in parts(space) for found in cameras(part, f"{name}.{key}" if name else str(key))]


def written(image):
    """An image as it is sent."""
    pixels = numpy.ascontiguousarray(image, dtype=numpy.uint8)
    height, width, channels = pixels.shape if pixels.ndim == 3 else (*pixels.shape, 1)
    pixels = base64.b64encode(pixels.tobytes()).decode()
    return {"height": height, "width": width, "channels": channels, "pixels": pixels}


def size(space):
    """How many numbers `look` makes of an observation of this space."""
    if is_image(space):
        return 0
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return sum(size(part) for _, part in parts(space))
    if isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        return math.prod(space.shape)
    raise ValueError(f"observations of {space} are not numbers of a fixed count")


def actions(space):
    """What the greeting says of an action space, and a function from what is received to an action."""
    if isinstance(space, spaces.Discrete):
        return {"discrete": int(space.n)}, lambda action: int(space.start) + action
    if isinstance(space, spaces.Box):
        bounds = [
            [float(bound) if math.isfinite(bound) else None for bound in side.ravel()] for side in (space.low, space.high)
        ]
        said = {"continuous": {"low": bounds[0], "high": bounds[1]}}
        return said, lambda action: numpy.asarray(action, dtype=space.dtype).reshape(space.shape)
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        multi = isinstance(space, spaces.MultiDiscrete)
        ends = space.nvec if multi else numpy.full(space.shape, 2)
        start = space.start if multi else 0
        names = numbered(ends.size)
        said = {"parts": {name: {"discrete": int(n)} for name, n in zip(names, ends.ravel())}}
        return said, lambda action: start + numpy.array([action[n] for n in names], space.dtype).reshape(space.shape)
    if isinstance(space, spaces.Dict):
        parts = {name: actions(part) for name, part in space.spaces.items()}
        said = {"parts": {name: said for name, (said, _) in parts.items()}}
        return said, lambda action: {name: make(action[name]) for name, (_, make) in parts.items()}
    if isinstance(space, spaces.Tuple):
        parts = dict(zip(numbered(len(space.spaces)), map(actions, space.spaces)))
        said = {"parts": {name: said for name, (said, _) in parts.items()}}
        return said, lambda action: tuple(make(action[name]) for name, (_, make) in parts.items())
    raise ValueError(f"actions of {space} are neither choices nor numbers")


def numbered(count):
    """0, 1, … in one width, so that they sort as the numbers do."""
    return [str(n).zfill(len(str(count - 1))) for n in range(count)]


class Bridge:
    """Environments of one task, and the talk about them."""

    def __init__(self, task, arguments, render, answers):
        if render:
            arguments["render_mode"] = "rgb_array"
        self.make = lambda: gymnasium.make(task, **arguments)
        self.render = render
        self.environments = {0: self.make()}
        self.answers = answers

    def say(self, answer):
        # Python's json would write NaN, which is not JSON.
        self.answers.write(json.dumps(answer, allow_nan=False) + "\n")
        self.answers.flush()

    def greet(self):
        environment = self.environments[0]
        said, self.action = actions(environment.action_space)
        hello = {"protocol": PROTOCOL, "action": said}
        seen = cameras(environment.observation_space) + ["render"] * self.render
        if seen:
            hello["images"] = seen
        numbers = size(environment.observation_space)
        if numbers or not seen:
            hello["observation"] = numbers
        if environment.spec is not None and environment.spec.max_episode_steps is not None:
            hello["max_steps"] = environment.spec.max_episode_steps
        self.say({"hello": hello})

    def seen(self, number, observation):
        """What an answer says of environment `number`, where this is observed."""
        environment = self.environments[number]
        numbers, images = look(observation, environment.observation_space)
        if self.render:
            images["render"] = environment.render()
        answer = {"env": number, "observation": numbers}
        if images:
            answer["images"] = {name: written(image) for name, image in images.items()}
        return answer

    def answer(self, request):
        """The answer to a request; `None` where it was the last."""
        if "close" in request:
            return None
        number = request["env"]
        if number not in self.environments:
            self.environments[number] = self.make()
        environment = self.environments[number]
        if "reset" in request:
            observation, _ = environment.reset(seed=request["reset"]["seed"])
            return self.seen(number, observation)
        observation, reward, terminated, truncated, _ = environment.step(self.action(request["step"]["action"]))
        return self.seen(number, observation) | {
            "reward": float(reward),
            "terminated": bool(terminated),
            "truncated": bool(truncated),
        }

    def serve(self, requests):
        self.greet()
        for line in requests:
            answer = self.answer(json.loads(line))
            if answer is None:
                break
            self.say(answer)
        for environment in self.environments.values():
            environment.close()


def key_value(text):
    """`key=value`, where the value is JSON, or else a text."""
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise argparse.ArgumentTypeError(f"expected key=value; found {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def main():
    parser = argparse.ArgumentParser(description="Any task of Gymnasium, for `smalti rollout --env`.")
    parser.add_argument("task", help="its name, such as Hopper-v5")
    parser.add_argument(
        "--make-arg",
        metavar="KEY=VALUE",
        type=key_value,
        action="append",
        default=[],
        help="an argument of gymnasium.make, its value as JSON or a text; may be repeated",
    )
    parser.add_argument("--render", action="store_true", help="shows each step as an image named render")
    arguments = parser.parse_args()
    # What a task prints must not get between the answers: from here on it goes to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        Bridge(arguments.task, dict(arguments.make_arg), arguments.render, answers).serve(sys.stdin)
    except BrokenPipeError:  # nobody listens any more
        os._exit(1)
    except Exception as error:
        answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        answers.flush()
        raise


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Play any Gymnasium task with `smalti rollout`.

    pip install 'gymnasium[mujoco]'
    smalti rollout runs/hopper --env "python examples/gymnasium_bridge.py Hopper-v5" --target-return 1400
    ... --env "python examples/gymnasium_bridge.py CartPole-v1 --make-arg sutton_barto_reward=true"
    ... --env "python examples/gymnasium_bridge.py CartPole-v1 --render"

It needs gymnasium and the task's own dependencies, and nothing of smalti. With --render each step has a rendered image, named
"render", as part of the observation.

The protocol: requests come on standard input and answers go to standard output, one JSON object a line, in the same
order. `env` is the number of one of several parallel environments, which are made at their first request.

    (first, without a request)               {"hello": {"protocol": 1, "observation": 11,
                                               "action": {"continuous": {"low": [-1, …], "high": [1, …]}},
                                               "max_steps": 1000}}
    {"env": 0, "reset": {"seed": 7}}         {"env": 0, "observation": [1.25, …]}
    {"env": 0, "step": {"action": [0.5, …]}} {"env": 0, "observation": […], "reward": 1.0,
                                               "terminated": false, "truncated": false}
    {"close": {}}                            (ends)

If observations have images, the greeting names them, "images": ["front"], and each observation has them beside its numbers
or instead of numbers: "images": {"front": {"height": 84, "width": 84, "channels": 3, "pixels": "base64 …"}},
row by row.

A discrete action is one number; the greeting declares it as {"discrete": n}. An action of several parts is an object, declared
as {"parts": {"arm": {"continuous": …}, "grip": {"discrete": n}}}. A bound of null means no bound. An error is
{"error": "message"} and ends the process.

Observations are flattened to one list: arrays row by row, the parts of a dict in the order of their names, those of a tuple in
their order. Boxes of bytes with two to four axes are images, named after their part; an image that is the whole observation has
an empty name. Stacked frames, [frames, …] or more than 3 channels, are one image, side by side, as in logs. Several discrete
choices are parts named 0, 1, …, or 00, 01, … if there are more than ten.
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
    return 2 <= len(space.shape) <= 4


def parts(space):
    """The parts of a space with their keys, in order; empty for a space without parts."""
    if isinstance(space, spaces.Dict):
        return sorted(space.spaces.items())
    if isinstance(space, spaces.Tuple):
        return list(enumerate(space.spaces))
    return []


def flatten(observation, space, name=""):
    """All numbers of an observation in one list, and its images by name."""
    if is_image(space):
        return [], {name: observation}
    if not isinstance(space, (spaces.Dict, spaces.Tuple)):
        return numpy.asarray(observation, dtype=numpy.float64).ravel().tolist(), {}
    numbers, images = [], {}
    for key, part in parts(space):
        part_numbers, part_images = flatten(observation[key], part, f"{name}.{key}" if name else str(key))
        numbers += part_numbers
        images |= part_images
    return numbers, images


def cameras(space, name=""):
    """The names of the images of an observation, in the order of `flatten`."""
    if is_image(space):
        return [name]
    return [found for key, part in parts(space) for found in cameras(part, f"{name}.{key}" if name else str(key))]


def side_by_side(image):
    """The image [height, width, 1 or 3] that smalti reads from a log: channels last, stacked frames side by side."""
    if image.ndim == 4:
        return numpy.concatenate([side_by_side(frame) for frame in image], axis=1)
    if image.ndim == 2:
        image = image[:, :, None]
    first, _, last = image.shape
    if last not in (1, 3) and (first in (1, 3) or first < last):
        image = numpy.moveaxis(image, 0, 2)
    channels = image.shape[2]
    frames = channels // 3 if channels % 3 == 0 else channels
    return numpy.concatenate(numpy.split(image, frames, axis=2), axis=1)


def encode(image):
    """An image as JSON: height, width, channels, pixels in base64."""
    pixels = numpy.ascontiguousarray(side_by_side(numpy.asarray(image, dtype=numpy.uint8)))
    height, width, channels = pixels.shape
    pixels = base64.b64encode(pixels.tobytes()).decode()
    return {"height": height, "width": width, "channels": channels, "pixels": pixels}


def size(space):
    """The number of numbers of an observation of this space."""
    if is_image(space):
        return 0
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        return sum(size(part) for _, part in parts(space))
    if isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        return math.prod(space.shape)
    raise ValueError(f"observations of {space} are not numbers of a fixed count")


def actions(space):
    """The declaration of an action space in the greeting, and a function from a received action to an action."""
    if isinstance(space, spaces.Discrete):
        return {"discrete": int(space.n)}, lambda action: int(space.start) + action
    if isinstance(space, spaces.Box):
        bounds = [
            [float(bound) if math.isfinite(bound) else None for bound in side.ravel()] for side in (space.low, space.high)
        ]
        declared = {"continuous": {"low": bounds[0], "high": bounds[1]}}
        return declared, lambda action: numpy.asarray(action, dtype=space.dtype).reshape(space.shape)
    if isinstance(space, (spaces.MultiDiscrete, spaces.MultiBinary)):
        multi = isinstance(space, spaces.MultiDiscrete)
        ends = space.nvec if multi else numpy.full(space.shape, 2)
        start = space.start if multi else 0
        names = numbered(ends.size)
        declared = {"parts": {name: {"discrete": int(n)} for name, n in zip(names, ends.ravel())}}
        return declared, lambda action: start + numpy.array([action[n] for n in names], space.dtype).reshape(space.shape)
    if isinstance(space, spaces.Dict):
        parts = {name: actions(part) for name, part in space.spaces.items()}
        declared = {"parts": {name: part for name, (part, _) in parts.items()}}
        return declared, lambda action: {name: make(action[name]) for name, (_, make) in parts.items()}
    if isinstance(space, spaces.Tuple):
        parts = dict(zip(numbered(len(space.spaces)), map(actions, space.spaces)))
        declared = {"parts": {name: part for name, (part, _) in parts.items()}}
        return declared, lambda action: tuple(make(action[name]) for name, (_, make) in parts.items())
    raise ValueError(f"actions of {space} are neither choices nor numbers")


def numbered(count):
    """0, 1, … with the same number of digits, so that names sort like the numbers."""
    return [str(n).zfill(len(str(count - 1))) for n in range(count)]


class Bridge:
    """The environments of one task, and the answers to requests."""

    def __init__(self, task, arguments, render, answers):
        if render:
            arguments["render_mode"] = "rgb_array"
        self.make = lambda: gymnasium.make(task, **arguments)
        self.render = render
        self.environments = {0: self.make()}
        self.answers = answers

    def send(self, answer):
        # Python's json writes NaN by default, which is not JSON.
        self.answers.write(json.dumps(answer, allow_nan=False) + "\n")
        self.answers.flush()

    def greet(self):
        environment = self.environments[0]
        declared, self.action = actions(environment.action_space)
        hello = {"protocol": PROTOCOL, "action": declared}
        images = cameras(environment.observation_space) + ["render"] * self.render
        if images:
            hello["images"] = images
        numbers = size(environment.observation_space)
        if numbers or not images:
            hello["observation"] = numbers
        if environment.spec is not None and environment.spec.max_episode_steps is not None:
            hello["max_steps"] = environment.spec.max_episode_steps
        self.send({"hello": hello})

    def observed(self, number, observation):
        """The answer with an observation of environment `number`."""
        environment = self.environments[number]
        numbers, images = flatten(observation, environment.observation_space)
        if self.render:
            images["render"] = environment.render()
        answer = {"env": number, "observation": numbers}
        if images:
            answer["images"] = {name: encode(image) for name, image in images.items()}
        return answer

    def answer(self, request):
        """The answer to a request; `None` for the last request."""
        if "close" in request:
            return None
        number = request["env"]
        if number not in self.environments:
            self.environments[number] = self.make()
        environment = self.environments[number]
        if "reset" in request:
            observation, _ = environment.reset(seed=request["reset"]["seed"])
            return self.observed(number, observation)
        observation, reward, terminated, truncated, _ = environment.step(self.action(request["step"]["action"]))
        return self.observed(number, observation) | {
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
            self.send(answer)
        for environment in self.environments.values():
            environment.close()


def key_value(text):
    """Parse `key=value`; the value is JSON, or else a text."""
    key, separator, value = text.partition("=")
    if not (key and separator):
        raise argparse.ArgumentTypeError(f"expected key=value; found {text!r}")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


def main():
    parser = argparse.ArgumentParser(description="Play any Gymnasium task with `smalti rollout --env`.")
    parser.add_argument("task", help="name of the task, such as Hopper-v5")
    parser.add_argument(
        "--make-arg",
        metavar="KEY=VALUE",
        type=key_value,
        action="append",
        default=[],
        help="argument of gymnasium.make, with its value as JSON or text; may be repeated",
    )
    parser.add_argument("--render", action="store_true", help="add a rendered image of each step, named render")
    arguments = parser.parse_args()
    # The task's own output must not mix with the answers: send it to standard error.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        Bridge(arguments.task, dict(arguments.make_arg), arguments.render, answers).serve(sys.stdin)
    except BrokenPipeError:  # the reader has ended
        os._exit(1)
    except Exception as error:
        answers.write(json.dumps({"error": f"{type(error).__name__}: {error}"}) + "\n")
        answers.flush()
        raise


if __name__ == "__main__":
    main()

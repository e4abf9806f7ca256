"""Trained runs: the predictions of the program `smalti` (SMALTI_PROGRAM), from Python."""

import json
import os
import pathlib
import pickle
import subprocess
import tempfile
import unittest

import numpy as np
import smalti


def program(*arguments):
    """The output of the program, as text."""
    command = [os.environ["SMALTI_PROGRAM"], *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


class Runs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.place.name)
        small = ["--set", "train.max_steps=8", "--set", "model.d_model=32", "--set", "model.n_layers=1"]
        program("train", "image", *small, "--out", cls.folder / "digits")
        text = cls.folder / "text.txt"
        text.write_text("the cat sat on the mat and the rat ran from the cat. " * 60)
        program("train", "text", "--set", f"data.source={text}", *small, "--out", cls.folder / "text")

    @classmethod
    def tearDownClass(cls):
        cls.place.cleanup()

    def test_predictions_are_those_of_the_program(self):
        model = smalti.Model.load(self.folder / "digits")
        self.assertEqual(model.tasks[0]["outputs"], ["class"])
        rows = smalti.Table("builtin:digits")[:40]
        field = model.tasks[0]["fields"][0]
        images = [{field: row["image"]} for row in rows]
        predicted = model.predict(images, batch_size=7)
        alone = model.predict(images[3])["class"]
        self.assertEqual(predicted[3]["class"]["value"], alone["value"])
        for name, probability in alone["probabilities"].items():  # a batch of another size rounds differently
            self.assertAlmostEqual(predicted[3]["class"]["probabilities"][name], probability, places=6)
        png = smalti.Tokenizer.from_run(self.folder / "digits", "image")
        path = self.folder / "digit.png"
        path.write_bytes(png.decode(png.encode(images[3][field]))["bytes"])
        classes = json.loads(program("classify", self.folder / "digits", path, "--json"))["rows"][0]["classes"]
        for of in classes:
            self.assertAlmostEqual(predicted[3]["class"]["probabilities"][of["class"]], of["probability"], places=5)
        self.assertEqual(predicted[3]["class"]["value"], classes[0]["class"])

    def test_embeddings_are_vectors(self):
        model = smalti.Model.load(self.folder / "digits", weights="last")
        images = [row["image"] for row in smalti.Table("builtin:digits")[:5]]
        vectors = model.embed(images, normalize=True)
        self.assertEqual((vectors.shape, vectors.dtype), ((5, 32), np.float32))
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)

    def test_generated_text_is_that_of_the_program(self):
        model = smalti.Model.load(self.folder / "text")
        text = model.generate("the ", max_new_tokens=20, seed=7)
        arguments = ["--prompt", "the ", "--max-new-tokens", 20, "--seed", 7, "--json"]
        self.assertEqual(text, json.loads(program("generate", self.folder / "text", *arguments))["text"])
        self.assertEqual(len(model.generate("the ", max_new_tokens=5, temperature=0)), 5)
        self.assertEqual(model.generate("the ", max_new_tokens=0), "")
        with self.assertRaisesRegex(ValueError, "^temperature: expected a number of at least 0; found -1"):
            model.generate("the ", temperature=-1)
        with self.assertRaisesRegex(ValueError, "^prompt: expected at least one token"):
            model.generate("")

    def test_tokenizers_and_data_of_a_run(self):
        run = self.folder / "digits"
        tokenizer = smalti.Tokenizer.from_run(run, "image")
        self.assertEqual(pickle.loads(pickle.dumps(tokenizer)).config, tokenizer.config)
        with self.assertRaisesRegex(ValueError, 'part: expected one of image.*; found "smell"'):
            smalti.Tokenizer.from_run(run, "smell")
        validation = smalti.Loader.from_run(run, split="validation")
        self.assertEqual(validation.kinds, smalti.Model.load(run).kinds)
        self.assertGreater(len([batch for batch in validation]), 0)

    def test_wrong_rows_and_options(self):
        model = smalti.Model.load(self.folder / "digits")
        with self.assertRaisesRegex(ValueError, "expected a dict of values by field; found str"):
            model.predict(["a.png"])
        with self.assertRaisesRegex(ValueError, "weights: expected"):
            smalti.Model.load(self.folder / "digits", weights="first")
        with self.assertRaisesRegex(ValueError, "expected an output that continues texts"):
            model.generate("a")
        with self.assertRaisesRegex(ValueError, "pool: expected class_token, mean, first or last"):
            model.embed([], pool="max")
        with self.assertRaisesRegex(ValueError, "values: expected a list of values; found str"):
            model.embed("a")
        self.assertEqual(model.embed([]).shape, (0, 32))
        image = smalti.Table("builtin:digits")[0]["image"]
        with self.assertRaisesRegex(ValueError, 'row 1: expected a field of the inputs: image; found "img"'):
            model.predict({"img": image})
        for row in ({}, {"image": None}):
            with self.assertRaisesRegex(ValueError, "expected a field of the inputs: image; found no value of one"):
                model.predict([row])
        self.assertEqual(model.predict({"image": image, "place": "a"}), model.predict({"image": image}))


if __name__ == "__main__":
    unittest.main()

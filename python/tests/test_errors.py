"""Bad input: Python exceptions with the same message as the program `smalti`."""

import pathlib
import unittest

import numpy as np
import smalti


class Errors(unittest.TestCase):
    def assert_fails(self, kind, words, call):
        with self.assertRaises(kind) as caught:
            call()
        self.assertIsInstance(caught.exception, smalti.Error)
        self.assertIn(words, str(caught.exception))

    def test_values_of_another_type(self):
        image = smalti.Tokenizer("image", preset="vit")
        wrong = lambda words, value: self.assert_fails(ValueError, words, lambda: image.encode(value))
        wrong("expected an image: a file, or an array of bytes", "a.png")
        wrong("an array [8, 8] of real numbers", np.zeros((8, 8)))
        wrong("expected an array of numbers; found <U1", np.array(["a"]))
        wrong("expected str, bytes, a path", object())
        wrong("expected a dict of a file (bytes, path) or of a clip (array, sampling_rate)", {"url": "x"})
        wrong("not readable as", b"no image")
        text = smalti.Tokenizer("text", ["ab"])
        self.assert_fails(ValueError, "expected text; found a number", lambda: text.encode(3))
        self.assert_fails(ValueError, "expected ids from 0", lambda: text.decode([-1]))
        real = lambda: text.decode([0.9, 1.7])
        self.assert_fails(ValueError, "ids: expected integers; found an array of float64", real)
        self.assertEqual(text.decode([]), "")

    def test_a_value_in_place_of_a_list(self):
        fails = lambda words, call: self.assert_fails(ValueError, words, call)
        fails("values: expected a list of values; found str", lambda: smalti.Tokenizer("text", "abc"))
        text = smalti.Tokenizer("text", ["ab"])
        fails("values: expected a list of values; found str", lambda: text.encode_batch("ab"))
        fails("values: expected a list of values; found int", lambda: text.encode_batch(3))

    def test_samples_of_a_clip(self):
        audio = smalti.Tokenizer("audio", normalize=False)
        encode = lambda samples: lambda: audio.encode(samples, sampling_rate=16000)
        self.assert_fails(ValueError, "an array [n] of real numbers; found (2, 9) of float64", encode(np.zeros((2, 9))))
        self.assert_fails(ValueError, "an array [n] of real numbers; found (9,) of int16", encode(np.zeros(9, np.int16)))
        rate = lambda: audio.encode(np.zeros(9, np.float32))
        self.assert_fails(ValueError, "such as sampling_rate=16000; found none", rate)
        text = smalti.Tokenizer("text", vocabulary="bytes")
        rate = lambda: text.encode("a", sampling_rate=16000)
        self.assert_fails(ValueError, "sampling_rate: expected a tokenizer of audio; found one of text", rate)

    def test_modalities_and_settings(self):
        fails = lambda words, call: self.assert_fails(ValueError, words, call)
        fails('no tokenizer is named "smell"; known: audio,', lambda: smalti.Tokenizer("smell"))
        fails("unknown field `patch`", lambda: smalti.Tokenizer("image", patch=3))
        fails("expected at least 1 clip to fit the bands to; found 0", lambda: smalti.Tokenizer("audio"))

    def test_files(self):
        missing = pathlib.Path("no/such/file.png")
        image = smalti.Tokenizer("image", preset="vit")
        self.assert_fails(OSError, "no/such/file.png: ", lambda: image.encode(missing))
        self.assert_fails(OSError, "no/such/file.png: not found", lambda: smalti.Table(missing))
        self.assert_fails(OSError, "no/run is no run folder", lambda: smalti.Model.load("no/run"))
        self.assert_fails(OSError, "is neither a preset (text, image", lambda: smalti.Loader("imagine"))

    def test_loaders(self):
        fails = lambda words, call: self.assert_fails(ValueError, words, call)
        fails('split: expected "train" or "validation"; found "test"', lambda: smalti.Loader("image", split="test"))
        fails("rank: expected a number below world_size 2; found 2", lambda: smalti.Loader("image", rank=2, world_size=2))
        size = lambda: smalti.Loader("image", set={"train.batch_size": "many"})
        fails("train.batch_size: expected", size)
        fails("batch_size: expected at least 1; found 0", lambda: smalti.Loader("image", set={"train.batch_size": 0}))
        fails("outputs: expected at least one output", lambda: smalti.Loader({"data": {"source": "builtin:digits"}}))

    def test_rows_of_a_table(self):
        table = smalti.Table("builtin:digits")
        with self.assertRaisesRegex(IndexError, f"row {len(table)}: .* has {len(table)} rows"):
            table[len(table)]
        self.assert_fails(ValueError, 'no field "colour"; there is', lambda: table.value(0, "colour"))
        unknown = lambda: smalti.Table("builtin:digits", layout="rows of rows")
        self.assert_fails(ValueError, 'no layout is named "rows of rows"', unknown)


if __name__ == "__main__":
    unittest.main()

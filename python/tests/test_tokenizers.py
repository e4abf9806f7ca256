"""Tokenizers: values in, NumPy arrays out, and back."""

import io
import pathlib
import pickle
import tempfile
import threading
import unittest
import wave

import numpy as np
import smalti


def clip(seconds=0.5, rate=8000):
    """A tone, float32 [n]."""
    return (0.3 * np.sin(np.arange(int(seconds * rate)) * 0.2)).astype(np.float32)


def wav(samples, rate):
    """A WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes(np.round(samples * 32768).clip(-32768, 32767).astype("<i2").tobytes())
    return file.getvalue()


class Texts(unittest.TestCase):
    def test_characters_come_back(self):
        tokenizer = smalti.Tokenizer("text", ["banana"])
        tokens = tokenizer.encode("nab")
        self.assertEqual(tokens.ids.dtype, np.int32)
        self.assertEqual((len(tokens), tokens.kinds), (3, ["character"]))
        self.assertEqual(tokens.positions.tolist(), [[0], [1], [2]])
        self.assertEqual(tokenizer.decode(tokens), "nab")
        self.assertEqual(tokenizer.decode(tokens.ids), "nab")
        self.assertEqual(tokenizer.decode(tokens.ids.tolist()), "nab")

    def test_a_vocabulary_of_subwords_is_fitted_to_texts(self):
        text = "the cat and the hat and the bat " * 20
        tokenizer = smalti.Tokenizer("text", [text], vocabulary={"bpe": 270}, context=512)
        # A short text has fewer pairs to merge.
        self.assertIn(tokenizer.kinds[0]["vocabulary"], range(257, 271))
        tokens = tokenizer.encode(text)
        self.assertLess(len(tokens), len(text) / 2)
        self.assertEqual(tokenizer.decode(tokens), text)

    def test_a_longer_text_is_truncated_on_request(self):
        tokenizer = smalti.Tokenizer("text", vocabulary="bytes", context=4)
        with self.assertRaisesRegex(ValueError, "text has 6 tokens; the context holds 4"):
            tokenizer.encode("banana")
        self.assertEqual(len(tokenizer.encode("banana", max_length=3)), 3)

    def test_a_tokenizer_is_its_configuration(self):
        tokenizer = smalti.Tokenizer("text", ["banana"])
        again = smalti.Tokenizer.from_config("text", tokenizer.config)
        for copy in (again, pickle.loads(pickle.dumps(tokenizer))):
            self.assertEqual(copy.config, tokenizer.config)
            self.assertEqual(copy.encode("nab").ids.tolist(), tokenizer.encode("nab").ids.tolist())


class Images(unittest.TestCase):
    def test_patches_are_rows_of_pixels(self):
        image = np.arange(8 * 8, dtype=np.uint8).reshape(8, 8)
        tokenizer = smalti.Tokenizer("image", patch_size=4, image_size=[8, 8], num_channels=1, mean=[0.0], std=[1.0])
        tokens = tokenizer.encode(image)
        self.assertEqual((tokens.features.shape, tokens.features.dtype), ((4, 16), np.float32))
        expected = image.reshape(2, 4, 2, 4).transpose(0, 2, 1, 3).reshape(4, 16) / 255
        np.testing.assert_allclose(tokens.features, expected, atol=1e-6)
        self.assertEqual(tokens["patch"].positions.tolist(), [[0, 0], [0, 1], [1, 0], [1, 1]])
        self.assertIsNone(tokens.ids)

    def test_a_decoded_image_is_a_file_that_encodes_to_the_same_tokens(self):
        image = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
        tokenizer = smalti.Tokenizer("image", [image], patch_size=4)
        tokens = tokenizer.encode(image)
        decoded = tokenizer.decode(tokens)
        self.assertTrue(decoded["bytes"].startswith(b"\x89PNG"))
        np.testing.assert_array_equal(tokenizer.encode(decoded).features, tokens.features)
        np.testing.assert_array_equal(tokenizer.encode(decoded["bytes"]).features, tokens.features)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "a.png")
            path.write_bytes(decoded["bytes"])
            np.testing.assert_array_equal(tokenizer.encode(path).features, tokens.features)

    def test_a_batch_has_the_tokens_of_each_value(self):
        images = list(np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3), np.uint8))
        tokenizer = smalti.Tokenizer("image", images, patch_size=4)
        for image, tokens in zip(images, tokenizer.encode_batch(images)):
            np.testing.assert_array_equal(tokens.features, tokenizer.encode(image).features)

    def test_a_seed_augments(self):
        image = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
        tokenizer = smalti.Tokenizer("image", [image], patch_size=4, augment={"shift": 3.0})
        one, same, other = (tokenizer.encode(image, seed=seed).features for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        self.assertFalse(np.array_equal(one, other))

    def test_arrays_of_any_order_are_read(self):
        image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
        tokenizer = smalti.Tokenizer("image", [image], patch_size=4)
        found = tokenizer.encode(np.asfortranarray(image)).features
        np.testing.assert_array_equal(found, tokenizer.encode(image).features)


class Clips(unittest.TestCase):
    def test_samples_and_files_have_the_same_slices(self):
        rate, samples = 8000, np.round(clip() * 32768) / 32768
        tokenizer = smalti.Tokenizer("audio", normalize=False, sampling_rate=rate, mel={"n_mels": 40})
        tokens = tokenizer.encode(samples, sampling_rate=rate)
        self.assertEqual(tokens.kinds, ["slice"])
        self.assertEqual(tokens.features.shape[1], 40 * 4)
        as_dict = {"array": samples, "sampling_rate": rate}
        for value in (as_dict, wav(samples, rate)):
            np.testing.assert_array_equal(tokenizer.encode(value).features, tokens.features)
        batch = tokenizer.encode_batch([samples, samples[:2000]], sampling_rate=rate)
        np.testing.assert_array_equal(batch[0].features, tokens.features)
        self.assertLess(len(batch[1]), len(tokens))

    def test_bands_are_fitted_to_clips(self):
        value = {"array": clip(), "sampling_rate": 8000}
        tokenizer = smalti.Tokenizer("audio", [value], sampling_rate=8000, mel={"n_mels": 40})
        self.assertEqual(len(tokenizer.config["band_mean"]), 40)
        self.assertLess(abs(tokenizer.encode(value).features.mean()), 0.2)

    def test_slices_are_not_decoded(self):
        tokenizer = smalti.Tokenizer("audio", normalize=False, sampling_rate=8000)
        with self.assertRaisesRegex(ValueError, "audio tokens cannot be decoded"):
            tokenizer.decode(tokenizer.encode(clip(), sampling_rate=8000))


class Numbers(unittest.TestCase):
    def test_numbers_are_normalised_and_come_back(self):
        values = [np.array([1.0, 10.0]), np.array([3.0, 30.0])]
        tokenizer = smalti.Tokenizer("numbers", values)
        tokens = tokenizer.encode(values[0])
        np.testing.assert_allclose(tokens.features, [[-1.0, -1.0]], atol=1e-6)
        np.testing.assert_allclose(tokenizer.decode(tokens), [1.0, 10.0], atol=1e-5)
        np.testing.assert_array_equal(tokenizer.encode([1, 10]).features, tokens.features)

    def test_ids_are_ids(self):
        tokenizer = smalti.Tokenizer("numbers", [0, 1, 2, 3], ids=True, n_ids=4)
        self.assertEqual(tokenizer.encode(3).ids.tolist(), [3])
        self.assertEqual(tokenizer.encode(np.int64(2)).ids.tolist(), [2])


class Threads(unittest.TestCase):
    def test_other_threads_run_while_a_batch_is_tokenized(self):
        image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
        tokenizer = smalti.Tokenizer("image", preset="vit")
        ticks, done = [], threading.Event()

        def tick():
            while not done.wait(0.001):
                ticks.append(1)

        thread = threading.Thread(target=tick)
        thread.start()
        tokenizer.encode_batch([image] * 64)
        done.set()
        thread.join()
        self.assertGreater(len(ticks), 2)


if __name__ == "__main__":
    unittest.main()

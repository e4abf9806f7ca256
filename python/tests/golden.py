"""The outputs of published implementations, in the folder SMALTI_GOLDEN; vocabularies are in the folder SMALTI_DATA.

    SMALTI_GOLDEN=golden SMALTI_DATA=data python -m unittest golden
"""

import json
import os
import pathlib
import unittest

import numpy as np
import smalti

GOLDEN = pathlib.Path(os.environ["SMALTI_GOLDEN"])
VOCABULARIES = pathlib.Path(os.environ["SMALTI_DATA"], "vocab")


def tensors(path):
    """The tensors of a safetensors file of float32, by name."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    found = {}
    for name, of in header.items():
        assert of["dtype"] == "F32", name
        begin, end = of["data_offsets"]
        found[name] = np.frombuffer(data[8 + size + begin : 8 + size + end], "<f4").reshape(of["shape"])
    return found


def file(folder, name):
    """The file of this name and any ending."""
    [path] = [path for path in (GOLDEN / folder).iterdir() if path.stem == name and path.suffix != ".safetensors"]
    return path


class Golden(unittest.TestCase):
    def test_log_mel_spectrograms_are_whispers(self):
        tokenizers = {
            "whisper80": smalti.Tokenizer("audio", preset="whisper", normalize=False),
            "whisper128": smalti.Tokenizer("audio", preset="whisper128", normalize=False),
        }
        compared = 0
        for key, expected in tensors(GOLDEN / "audio" / "expected.safetensors").items():
            family, _, name = key.partition(".")
            if family not in tokenizers:
                continue
            name, _, last = name.partition(".")
            frames = tokenizers[family].encode(file("audio", name)).features
            self.assertEqual(frames.shape, (3000, expected.shape[0]))
            frames = frames[-expected.shape[1] :] if last else frames[: expected.shape[1]]
            np.testing.assert_allclose(frames.T, expected, rtol=0, atol=1e-4, err_msg=key)
            compared += 1
        self.assertGreater(compared, 10)

    def test_pixels_and_patches_are_those_of_pillow_and_transformers(self):
        sized = {"num_channels": 3, "filter": "bilinear", "image_size": [64, 64]}
        vit = {**sized, "mean": [0.5] * 3, "std": [0.5] * 3}
        pixel = smalti.Tokenizer("image", patch_size=1, **vit)
        patch = smalti.Tokenizer("image", patch_size=16, **vit)
        clip = smalti.Tokenizer("image", preset="clip", patch_size=1, image_size=[48, 48],
                                resize={"crop": {"shortest_edge": 48}})
        compared = 0
        for key, expected in tensors(GOLDEN / "image" / "expected.safetensors").items():
            family, _, name = key.partition(".")
            image = file("image", name)
            if family == "vit_bilinear_patches16_hwc":
                found, std = patch.encode(image).features, np.full(768, 0.5)
            else:
                tokenizer = {"vit_bilinear": pixel, "clip_bicubic_crop": clip}[family]
                std = np.array(tokenizer.config["std"])[:, None, None]
                found = tokenizer.encode(image).features.T.reshape(expected.shape)
            apart = np.abs(found - expected) * std * 255
            self.assertLess(apart.max(), 1.001, key)
            self.assertLessEqual((apart > 0.5).mean(), 0.01, key)
            compared += 1
        self.assertGreaterEqual(compared, 9)

    def test_ids_are_those_of_gpt2_and_bert(self):
        files = {"gpt2": "encoder.json", "bert": "bert-uncased-vocab.txt"}
        cases = json.loads((GOLDEN / "text" / "expected.json").read_text())
        for key, name in files.items():
            tokenizer = smalti.Tokenizer("text", vocabulary={"file": str(VOCABULARIES / name)}, context=512)
            cases_of = [case for case in cases if key in case]
            self.assertGreater(len(cases_of), 5)
            encoded = tokenizer.encode_batch([case["text"] for case in cases_of])
            for case, tokens in zip(cases_of, encoded):
                self.assertEqual(tokens.ids.tolist(), case[key], case["text"])


if __name__ == "__main__":
    unittest.main()

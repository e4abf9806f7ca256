"""Tables and loaders: rows, and batches of tokens that are packed or padded."""

import csv
import json
import pathlib
import tempfile
import unittest

import numpy as np
import smalti

SETTINGS = {"train.batch_size": 32, "train.workers": 1}


def packed_equals_padded(test, packed, padded):
    """Every array of a packed batch, found at its place in the padded one."""
    for name in ("main", "encoder"):
        flat, square = getattr(packed, name), getattr(padded, name)
        test.assertEqual(flat is None, square is None)
        if flat is None:
            continue
        test.assertIsNone(flat.mask)
        np.testing.assert_array_equal(square.mask.sum(1), np.diff(flat.cu_seqlens))
        test.assertEqual(square.mask.shape, (len(flat.cu_seqlens) - 1, flat.max_seqlen))
        for array in ("kinds", "order", "time", "positions"):
            np.testing.assert_array_equal(getattr(square, array)[square.mask], getattr(flat, array))
        test.assertTrue((square.kinds[~square.mask] == -1).all())
        test.assertEqual(set(flat.content), set(square.content))
        for kind, content in flat.content.items():
            other = square.content[kind]
            np.testing.assert_array_equal(flat.kinds.ravel()[content.index], square.kinds.ravel()[other.index])
            for array in ("ids", "features", "positions", "time"):
                np.testing.assert_array_equal(getattr(content, array), getattr(other, array))
    test.assertEqual(set(packed.targets), set(padded.targets))
    for output, target in packed.targets.items():
        other = padded.targets[output]
        flat, square = packed.main.order.ravel()[target.rows], padded.main.order.ravel()[other.rows]
        np.testing.assert_array_equal(flat, square)
        for array in ("ids", "values", "weights", "cu_seqlens", "samples", "pools"):
            np.testing.assert_array_equal(getattr(target, array), getattr(other, array))


class Tables(unittest.TestCase):
    def test_a_row_is_a_dict_of_arrays(self):
        table = smalti.Table("builtin:digits")
        row = table[0]
        self.assertEqual(set(row), set(table.fields))
        self.assertEqual((row["image"].dtype, row["image"].shape), (np.uint8, (8, 8)))
        self.assertEqual(table.schema["image"], "an array [8, 8]")
        self.assertEqual(sum(1 for _ in table), len(table))
        self.assertEqual(len(table[:5]), 5)
        np.testing.assert_array_equal(table[-1]["image"], table[len(table) - 1]["image"])

    def test_text_and_missing_values(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "rows.jsonl")
            rows = [{"name": "ab", "size": 1.5}, {"name": "c"}]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            table = smalti.Table(path)
            self.assertEqual(table[0], {"name": "ab", "size": 1.5})
            self.assertIsNone(table[1]["size"])
            self.assertEqual(len(smalti.Table([path, path])), 4)

    def test_a_series_is_a_list(self):
        rewards = smalti.Table("builtin:cartpole-mixed.npz")[0]["rewards"]
        self.assertIsInstance(rewards, list)
        self.assertIsInstance(rewards[0], float)


class Loaders(unittest.TestCase):
    def test_an_epoch_has_every_sample_once(self):
        loader = smalti.Loader("image", set={**SETTINGS, "inputs.image.augment": {}, "train.batch_size": 50})
        ids = [batch.targets["class"].ids for batch in loader]
        self.assertEqual(len(ids), len(loader))
        self.assertEqual(sum(map(len, ids)), 50 * len(loader))
        self.assertLess(50 * len(loader) - loader.n_samples, 50)
        self.assertEqual(len(loader.outputs["class"]["labels"]), 10)

    def test_a_batch_of_images(self):
        loader = smalti.Loader("image", set=SETTINGS)
        batch = next(iter(loader))
        main = batch.main
        names = [kind["name"] for kind in loader.kinds]
        self.assertEqual(batch.n_documents, 32)
        self.assertEqual(main.cu_seqlens.dtype, np.int32)
        self.assertEqual(main.cu_seqlens[-1], len(main.kinds))
        patches = main.content["image.patch"]
        self.assertEqual(patches.features.shape[1], loader.kinds[names.index("image.patch")]["dim"])
        self.assertTrue((main.kinds[patches.index] == names.index("image.patch")).all())
        target = batch.targets["class"]
        self.assertEqual((target.ids.dtype, target.ids.shape), (np.int64, (32,)))
        self.assertTrue((main.kinds[target.rows] == names.index("class.class")).all())

    def test_packed_equals_padded(self):
        for preset in ("image", "audio", "trajectory", "mix"):
            with self.subTest(preset):
                packed = smalti.Loader(preset, set={"train.workers": 1})
                padded = smalti.Loader(preset, set={"train.workers": 1}, padded=True)
                for split in (lambda loader: loader, lambda loader: loader.validation()):
                    for _, one, other in zip(range(3), split(packed), split(padded)):
                        packed_equals_padded(self, one, other)

    def test_validation_is_in_order_and_uses_the_same_tokenizers(self):
        loader = smalti.Loader("image", set=SETTINGS)
        validation = loader.validation()
        self.assertEqual(validation.kinds, loader.kinds)
        ids = lambda: np.concatenate([batch.targets["class"].ids for batch in validation])
        np.testing.assert_array_equal(ids(), ids())
        self.assertEqual(len(ids()), validation.n_samples)

    def test_a_loader_continues_from_its_state(self):
        loader = smalti.Loader("image", set=SETTINGS)
        batches = iter(loader)
        next(batches)
        state = loader.state_dict()
        expected = next(batches).main.content["image.patch"].features
        other = smalti.Loader("image", set=SETTINGS)
        other.load_state_dict(state)
        np.testing.assert_array_equal(next(iter(other)).main.content["image.patch"].features, expected)

    def test_a_loader_is_an_iterator_without_iter(self):
        first = next(iter(smalti.Loader("image", set=SETTINGS))).targets["class"].ids
        np.testing.assert_array_equal(next(smalti.Loader("image", set=SETTINGS)).targets["class"].ids, first)

    def test_validation_continues_from_its_state(self):
        loader = smalti.Loader("image", set=SETTINGS, split="validation")
        whole = [batch.targets["class"].ids.tolist() for batch in loader]
        self.assertEqual(next(iter(loader)).targets["class"].ids.tolist(), whole[0])
        other = smalti.Loader("image", set=SETTINGS, split="validation")
        other.load_state_dict(loader.state_dict())
        for validation in (loader, other):
            rest = [batch.targets["class"].ids.tolist() for batch in validation]
            self.assertEqual(rest, whole[1:])
        again = [batch.targets["class"].ids.tolist() for batch in loader]
        self.assertEqual(again, whole)
        second = smalti.Loader("image", set=SETTINGS, split="validation", rank=1, world_size=2)
        self.assertEqual(next(second).targets["class"].ids.tolist(), whole[1])
        self.assertIn("of validation, packed", repr(second))

    def test_ranks_divide_the_batches(self):
        size = {**SETTINGS, "inputs.image.augment": {}}
        whole = [batch.targets["class"].ids.tolist() for batch in smalti.Loader("image", set=size)]
        ranks = [smalti.Loader("image", set=size, rank=rank, world_size=2) for rank in range(2)]
        both = [batch.targets["class"].ids.tolist() for pair in zip(*ranks) for batch in pair]
        self.assertEqual(both[: len(whole)], whole[: len(both)])
        validation = [batch.targets["class"].ids.tolist() for batch in smalti.Loader("image", set=size).validation()]
        parts = [[batch.targets["class"].ids.tolist() for batch in rank.validation()] for rank in ranks]
        self.assertEqual(parts, [validation[0::2], validation[1::2]])
        self.assertEqual([len(part) for part in parts], [len(rank.validation()) for rank in ranks])

    def test_a_budget_of_tokens(self):
        loader = smalti.Loader("audio", set={"train.batch_tokens": 400, "train.workers": 1}, padded=True)
        for batch in loader:
            streams = [batch.main, batch.encoder] if batch.encoder else [batch.main]
            self.assertLessEqual(sum(stream.cu_seqlens[-1] for stream in streams), 400)
        with self.assertRaises(TypeError):
            len(loader)

    def test_settings_are_a_dict_too(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "drives.csv")
            with path.open("w", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["distance", "speed", "brakes"])
                rows.writerows([i % 30, i // 30, i % 30 < i // 30] for i in range(300))
            task = {
                "data": {"source": str(path)},
                "inputs": {"radar": {"modality": "numbers", "field": ["distance", "speed"]}},
                "outputs": {"brakes": {"head": "classify"}},
            }
            loader = smalti.Loader(task, set={"train.batch_size": 16})
            batch = next(iter(loader))
            self.assertEqual(batch.main.content["radar.number"].features.shape, (16, 2))
            self.assertEqual(loader.outputs["brakes"]["width"], 2)


if __name__ == "__main__":
    unittest.main()

"""Read what `smalti export` writes with the Auto classes of transformers, untrained and after two steps, and that of runs that were
trained here, and compare outputs from raw files.

    python read_exports.py SMALTI [KIND...]

Needs torch, transformers and pillow; made with transformers 4.57. Every checkpoint is tiny and has random weights. Fails after
the last check if one failed.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import traceback
import wave
from pathlib import Path

import numpy
import torch
import transformers as tf
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

SMALTI = str(Path(sys.argv[1]).resolve())
TOLERANCE = 1e-4
TEXTS = ["the quick brown fox", "jumps over a lazy dog and sleeps", "a"]
WORDS = "the quick brown fox jumps over a lazy dog and sleeps while it rains in spain on the plain".split()
SHORT = ["train.max_steps=2", "train.batch_size=4", "train.eval_samples=4", "train.warmup_steps=1", "train.learning_rate=0.01",
         "train.min_learning_rate=0.01"]
tf.utils.logging.set_verbosity_error()


# Running smalti.

def smalti(*words, **options):
    result = subprocess.run([SMALTI, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    assert result.returncode == 0, f"smalti {' '.join(map(str, words))}\n{result.stderr}"
    return result.stdout


def tune(run, out, *settings, toml=None):
    sets = [word for setting in (*SHORT, *settings) for word in ("--set", setting)]
    smalti("train", *([toml] if toml else []), "--from", run, *sets, "--out", out)


def vectors(run, *files, texts=(), options=()):
    texts = [word for text in texts for word in ("--text", text)]
    found = json.loads(smalti("embed", run, *files, *texts, *options, "--json"))
    return torch.tensor([row["vector"] for row in found["vectors"]])


def probabilities(run, names, *files, texts=()):
    texts = [word for text in texts for word in ("--text", text)]
    rows = json.loads(smalti("classify", run, *files, *texts, "--top", 99, "--json"))["rows"]
    assert all({of["class"] for of in row["classes"]} == set(names) for row in rows), (rows, names)
    return torch.tensor([[next(of["probability"] for of in row["classes"] if of["class"] == name) for name in names]
                         for row in rows])


# Comparing.

def close(what, found, expected):
    found, expected = found.detach().float(), expected.detach().float()
    assert found.shape == expected.shape, (what, found.shape, expected.shape)
    worst = (found - expected).abs().max().item()
    assert worst <= TOLERANCE, f"{what}: off by {worst:.2e}"
    print(f"  {what}: off by {worst:.1e}", flush=True)


def load(auto, folder):
    """The model, all of whose weights are in the export; a pooler belongs to no task of smalti."""
    model, info = auto.from_pretrained(folder, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        wrong = [key for key in info[kind] if "pooler" not in str(key)]
        assert not wrong, (kind, wrong)
    return model.eval()


def kept(checkpoint, export):
    """An untrained export has every file of the checkpoint, byte for byte but for the weights."""
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.suffix != ".safetensors":
            assert (export / path.relative_to(checkpoint)).read_bytes() == path.read_bytes(), path


def make(folder, model, *others):
    torch.manual_seed(sum(map(ord, str(folder.name))))
    model = model.eval()
    with torch.no_grad():
        # Off their initial values, so that one that is dropped or swapped shows.
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    for other in others:
        other.save_pretrained(folder)
    return folder


def untrained(place, checkpoint):
    run, out = place / "run", place / "out"
    smalti("import", checkpoint, "--out", run)
    smalti("export", run, "--out", out)
    return run, out


# Images.

SIZES = [(50, 37), (32, 32), (41, 90), (64, 48), (33, 70), (80, 80)]


def photos(place):
    generator = numpy.random.default_rng(1)
    for number, (height, width) in enumerate(SIZES):
        path = place / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(generator.integers(0, 256, (5, 7, 3), dtype=numpy.uint8))
        coarse.resize((width, height), Image.BICUBIC).save(path)
    return place / "photos", sorted((place / "photos").rglob("*.png"))


def pixels(export, files):
    processor = tf.AutoImageProcessor.from_pretrained(export, use_fast=False)
    images = [Image.open(file).convert("RGB") for file in files]
    return torch.cat([processor(image, return_tensors="pt")["pixel_values"] for image in images])


def classes_of_images(what, run, export, files):
    model = load(tf.AutoModelForImageClassification, export)
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    assert model.config.architectures == [type(model).__name__], model.config.architectures
    assert model.config.label2id == {name: i for i, name in enumerate(names)}, model.config.label2id
    with torch.no_grad():
        close(what, probabilities(run, names, *files), model(pixels(export, files)).logits.softmax(-1))


def vectors_of_images(what, run, export, files):
    model = load(tf.AutoModel, export)
    with torch.no_grad():
        states = model(pixels(export, files)).last_hidden_state
    close(what, vectors(run, *files, options=["--pool", "class-token"]), states[:, 0])


# How images are resized: settings for a run, one for each way.
RESIZES = {
    "stretch": ["inputs.image.resize=stretch", "inputs.image.image_size=[24, 40]"],
    "crop": ["inputs.image.resize={crop={shortest_edge=48}}", "inputs.image.image_size=[40, 40]"],
    "stretch-crop": ["inputs.image.resize={stretch_crop={size=[44, 56]}}", "inputs.image.image_size=[40, 48]"],
}


def images(place, model, processor):
    """A checkpoint as it is, with other classes at its own size, and with each way to resize images."""
    source, files = photos(place)
    checkpoint = make(place / "checkpoint", model, *([processor] if processor else []))
    run, out = untrained(place, checkpoint)
    kept(checkpoint, out)
    has_classes = "ForImageClassification" in type(model).__name__
    (classes_of_images if has_classes else vectors_of_images)("untrained", run, out, files)
    head = [] if has_classes else ["outputs.embedding.head=classify", "outputs.embedding.field=label"]
    resizes = RESIZES_OF_SQUARES if "Dinov2" in type(model).__name__ else RESIZES
    for name, resize in {"same": [], **resizes}.items():
        tuned, exported = place / name, place / f"{name}-out"
        tune(run, tuned, f"data.source={source}", *head, *resize)
        smalti("export", tuned, "--out", exported)
        classes_of_images(f"trained, {name}", tuned, exported, files)
    normalized = ["inputs.image.mean=[0.4, 0.5, 0.6]", "inputs.image.std=[0.2, 0.3, 0.4]", "inputs.image.filter=lanczos"]
    tuned, exported = place / "normalized", place / "normalized-out"
    tune(run, tuned, f"data.source={source}", *head, *normalized)
    smalti("export", tuned, "--out", exported)
    classes_of_images("trained, another mean and filter", tuned, exported, files)
    again = place / "again"
    smalti("import", place / "crop-out", "--out", again)
    classes_of_images("imported again", again, place / "crop-out", files)

# transformers takes the positions of DINOv2 for those of a square.
RESIZES_OF_SQUARES = {
    "stretch": ["inputs.image.resize=stretch", "inputs.image.image_size=[48, 48]"],
    "crop": RESIZES["crop"],
    "stretch-crop": ["inputs.image.resize={stretch_crop={size=[44, 56]}}", "inputs.image.image_size=[40, 40]"],
}

VIT = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8)
DINO = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, mlp_ratio=2, image_size=32, patch_size=8)
LABELS = dict(id2label={0: "red", 1: "green", 2: "blue"}, label2id={"red": 0, "green": 1, "blue": 2})
SQUARE = dict(height=32, width=32)
CROP = dict(size=dict(shortest_edge=40), crop_size=SQUARE)


# Texts.

def words(begin=(), end=()):
    """A byte-level vocabulary, with tokens around each text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<s>", "</s>"]
    tokenizer.train_from_iterator([" ".join(WORDS)] * 20, trainers.BpeTrainer(
        vocab_size=300, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    template = " ".join([*begin, "$A", *end])
    around = [(token, tokenizer.token_to_id(token)) for token in {*begin, *end}]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, pair=f"{template} $B", special_tokens=around)
    # GPT-2 takes the numbers of segments for ids of tokens.
    inputs = ["input_ids", "attention_mask"]
    wrapped = tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_input_names=inputs)
    wrapped.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    return wrapped


def pieces(place):
    """BERT's vocabulary."""
    letters = sorted(set("".join(WORDS)))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *[f"##{letter}" for letter in letters], *sorted(set(WORDS) - set(letters))]
    path = place / "vocab.txt"
    path.write_text("\n".join(vocabulary) + "\n")
    return tf.BertTokenizerFast(vocab_file=str(path))


def robertas(place):
    """RoBERTa's vocabulary, as published: a pair of files, whose class puts tokens around a text."""
    trained = words().backend_tokenizer
    model = json.loads(trained.to_str())["model"]
    vocabulary = model["vocab"]
    vocabulary |= {token: len(vocabulary) + i for i, token in enumerate(["<unk>", "<mask>"])}
    (place / "vocab.json").write_text(json.dumps(vocabulary))
    (place / "merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in model["merges"]))
    return tf.RobertaTokenizerFast(str(place / "vocab.json"), str(place / "merges.txt"))


def unigrams():
    """XLM-R's sort of vocabulary."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer.train_from_iterator([" ".join(WORDS)] * 20, trainers.UnigramTrainer(
        vocab_size=80, special_tokens=specials, unk_token="<unk>", show_progress=False))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return tf.XLMRobertaTokenizerFast(tokenizer_object=tokenizer)


def each(export, model):
    """The mean of the last hidden states of each text."""
    tokenizer = tf.AutoTokenizer.from_pretrained(export)
    with torch.no_grad():
        states = [model(**tokenizer(text, return_tensors="pt", return_token_type_ids=False), output_hidden_states=True)
                  for text in TEXTS]
    return torch.stack([of.hidden_states[-1][0].mean(0) for of in states])


def language(place, model, tokenizer):
    """A model that continues texts."""
    checkpoint = make(place / "checkpoint", model, tokenizer)
    run, out = untrained(place, checkpoint)
    kept(checkpoint, out)
    tune(run, place / "tuned")
    smalti("export", place / "tuned", "--out", place / "tuned-out")
    for what, run, export in [("untrained", run, out), ("trained", place / "tuned", place / "tuned-out")]:
        peer = load(tf.AutoModelForCausalLM, export)
        close(f"{what}, states", vectors(run, texts=TEXTS), each(export, peer))
        tokenizer = tf.AutoTokenizer.from_pretrained(export)
        assert tokenizer.chat_template, "the template of chats is lost"
        prompt = tokenizer(TEXTS[0], return_tensors="pt", return_token_type_ids=False)
        ids = peer.generate(**prompt, max_new_tokens=6, do_sample=False)[0][prompt["input_ids"].shape[1]:]
        said = json.loads(smalti("generate", run, "--prompt", TEXTS[0], "--temperature", 0, "--max-new-tokens", 6, "--json"))["text"]
        expected = tokenizer.decode(ids, skip_special_tokens=True)
        # Bytes that are no text may be shown in more or fewer signs.
        assert said.replace("\ufffd", "") == expected.replace("\ufffd", ""), (said, expected)
        print(f"  {what}, continued: {expected!r}", flush=True)


def text_to_text(place, model, tokenizer):
    checkpoint = make(place / "checkpoint", model, tokenizer)
    run, out = untrained(place, checkpoint)
    kept(checkpoint, out)
    pairs = place / "pairs.csv"
    pairs.write_text("source,target\n" + "".join(f"{text},{text[::-1]}\n" for text in TEXTS * 6))
    tune(run, place / "tuned", f"data.source={pairs}")
    smalti("export", place / "tuned", "--out", place / "tuned-out")
    for what, run, export in [("untrained", run, out), ("trained", place / "tuned", place / "tuned-out")]:
        peer = load(tf.AutoModelForSeq2SeqLM, export)
        close(f"{what}, encoder", vectors(run, texts=TEXTS, options=["--input", "source"]), each(export, peer.get_encoder()))


def encoder_alone(place, model, tokenizer):
    checkpoint = make(place / "checkpoint", model, tokenizer)
    run, out = untrained(place, checkpoint)
    kept(checkpoint, out)
    close("untrained, vectors", vectors(run, texts=TEXTS), each(out, load(type(model), out)))


def reviews(place):
    path = place / "reviews.csv"
    rows = [(" ".join(WORDS[i:i + 3 + i % 3]), ("bad", "good")[i % 2]) for i in range(16)]
    path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    return path


def classes_of_texts(what, run, export):
    model = load(tf.AutoModelForSequenceClassification, export)
    tokenizer = tf.AutoTokenizer.from_pretrained(export)
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    assert model.config.architectures == [type(model).__name__], model.config.architectures
    with torch.no_grad():
        logits = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in TEXTS])
    several = model.config.problem_type == "multi_label_classification"
    close(what, probabilities(run, names, texts=TEXTS), logits.sigmoid() if several else logits.softmax(-1))
    if not several:
        said = tf.pipeline("text-classification", model=str(export), tokenizer=str(export), device="cpu")(TEXTS)
        first = json.loads(smalti("classify", run, *[word for text in TEXTS for word in ("--text", text)], "--top", 1, "--json"))
        assert [of["label"] for of in said] == [row["classes"][0]["class"] for row in first["rows"]]


def with_head(run, to, head):
    """The settings of a run with another output."""
    settings = (run / "run.toml").read_text()
    kept = re.split(r"^(?=\[outputs\.)", settings, flags=re.M)[0]
    to.write_text(kept + head)
    return to


HEAD = '[outputs.class]\nhead = "classify"\nfield = "label"\npool = "first"\nhidden = "tanh"\n'


def classified_texts(place, model, tokenizer):
    """A model with a head: as it is, and with other classes."""
    checkpoint = make(place / "checkpoint", model, tokenizer)
    run, out = untrained(place, checkpoint)
    kept(checkpoint, out)
    classes_of_texts("untrained", run, out)
    if model.config.problem_type != "multi_label_classification":
        tune(run, place / "tuned", f"data.source={reviews(place)}")
        smalti("export", place / "tuned", "--out", place / "tuned-out")
        classes_of_texts("trained", place / "tuned", place / "tuned-out")


def tags_of_texts(place, model, tokenizer):
    """A model with a class for each token."""
    checkpoint = make(place / "checkpoint", model, tokenizer)
    run, out = untrained(place, checkpoint)
    kept(checkpoint, out)
    equal_tags("untrained", run, out)


def equal_tags(what, run, out):
    model, tokenizer = load(tf.AutoModelForTokenClassification, out), tf.AutoTokenizer.from_pretrained(out)
    for text in TEXTS:
        with torch.no_grad():
            ids = model(**tokenizer(text, return_tensors="pt")).logits[0].argmax(-1)
        expected = " ".join(model.config.id2label[int(i)] for i in ids)
        found = smalti("predict", run, "--row", f"text={text}", "--json")
        assert json.dumps(expected) in found, (found, expected)
    print(f"  {what}, labels: equal", flush=True)


def trunk_of_texts(place, model, tokenizer):
    """A model without a head: its vectors, and a head that it learns."""
    checkpoint = make(place / "checkpoint", model, tokenizer)
    run, out = untrained(place, checkpoint)
    kept(checkpoint, out)
    masked = "MaskedLM" in type(model).__name__
    close("untrained, states", vectors(run, texts=TEXTS), each(out, load(tf.AutoModelForMaskedLM if masked else tf.AutoModel, out)))
    if masked:
        tune(run, place / "masked")
        smalti("export", place / "masked", "--out", place / "masked-out")
        peer = load(tf.AutoModelForMaskedLM, place / "masked-out")
        close("trained, states", vectors(place / "masked", texts=TEXTS), each(place / "masked-out", peer))
        return
    head = HEAD.replace("tanh", "relu") if model.config.model_type == "distilbert" else HEAD
    toml = with_head(run, place / "task.toml", head)
    tune(run, place / "tuned", f"data.source={reviews(place)}", toml=toml)
    smalti("export", place / "tuned", "--out", place / "tuned-out")
    classes_of_texts("trained", place / "tuned", place / "tuned-out")
    smalti("import", place / "tuned-out", "--out", place / "again")
    classes_of_texts("imported again", place / "again", place / "tuned-out")


def learned_by_decoder(place, model, tokenizer):
    """A model that continues texts, and heads that it learns of a text as an input that attends causally."""
    checkpoint = make(place / "checkpoint", model, tokenizer)
    run, _ = untrained(place, checkpoint)
    causal = 'model.attention.rules=[{query="text.*",key="text.*",rule="causal"}]'
    context = model.config.n_positions
    given = f'[inputs.text]\nmodality = "text"\nvocabulary = {{ file = "{run}/published" }}\ncontext = {context}\n'
    toml = with_head(run, place / "task.toml", given + '[outputs.label]\nhead = "classify"\npool = "last"\n')
    tune(run, place / "tuned", f"data.source={reviews(place)}", causal, toml=toml)
    smalti("export", place / "tuned", "--out", place / "tuned-out")
    classes_of_texts("trained", place / "tuned", place / "tuned-out")
    table = place / "tags.csv"
    texts = [" ".join(WORDS[i:i + 3]) for i in range(14)]
    tags = [" ".join("ABC"[id % 3] for id in tokenizer(text).input_ids) for text in texts]
    table.write_text("text,tags\n" + "".join(f"{text},{tag}\n" for text, tag in zip(texts, tags)))
    toml = with_head(run, place / "tags.toml", given + '[outputs.tags]\nhead = "tag"\nfield = "tags"\nseparator = " "\n')
    tune(run, place / "tagged", f"data.source={table}", causal, "model.head.bias=true", toml=toml)
    smalti("export", place / "tagged", "--out", place / "tagged-out")
    equal_tags("trained", place / "tagged", place / "tagged-out")


def scored_texts(place, model, tokenizer):
    """A head of one number, learned normalized."""
    checkpoint = make(place / "checkpoint", model, tokenizer)
    run, _ = untrained(place, checkpoint)
    table = place / "scores.csv"
    table.write_text("text,score\n" + "".join(f"{' '.join(WORDS[i:i + 4])},{100 + 7 * i}\n" for i in range(14)))
    head = HEAD.replace("[outputs.class]", "[outputs.score]").replace("classify", "regress").replace('"label"', '"score"')
    tune(run, place / "tuned", f"data.source={table}", toml=with_head(run, place / "task.toml", head))
    export = place / "tuned-out"
    smalti("export", place / "tuned", "--out", export)
    peer, tokenizer = load(tf.AutoModelForSequenceClassification, export), tf.AutoTokenizer.from_pretrained(export)
    for text in TEXTS:
        found = json.loads(smalti("predict", place / "tuned", "--row", f"text={text}", "--json"))
        with torch.no_grad():
            expected = peer(**tokenizer(text, return_tensors="pt")).logits[0, 0].item()
        number = found["rows"][0]["score"]["value"]
        assert abs(number - expected) < 1e-3, (number, expected)
    print("  trained, numbers in the units of the data", flush=True)


BERT = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=32)
GPT2 = dict(n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2)
LLAMA = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64, bos_token_id=1, eos_token_id=2)
T5 = dict(d_model=32, d_ff=48, d_kv=8, num_layers=2, num_decoder_layers=2, num_heads=4, decoder_start_token_id=0, eos_token_id=2)


def sentences(place, model, tokenizer):
    """A sentence encoder, whose files are kept, and a head that it learns, beside which they would be wrong."""
    checkpoint = make(place / "checkpoint", model, tokenizer)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [dict(idx=i, name=str(i), path=path, type=f"sentence_transformers.models.{name}") for i, (path, name) in enumerate(modules)]
    (checkpoint / "modules.json").write_text(json.dumps(modules))
    (checkpoint / "1_Pooling").mkdir()
    (checkpoint / "1_Pooling/config.json").write_text(json.dumps(dict(pooling_mode_mean_tokens=True)))
    (checkpoint / "sentence_bert_config.json").write_text(json.dumps(dict(max_seq_length=16)))
    run, out = untrained(place, checkpoint)
    kept(checkpoint, out)
    expected = torch.nn.functional.normalize(each(out, load(tf.AutoModel, out)), dim=-1)
    close("untrained, vectors", vectors(run, texts=TEXTS), expected)
    toml = with_head(run, place / "task.toml", HEAD)
    tune(run, place / "tuned", f"data.source={reviews(place)}", toml=toml)
    smalti("export", place / "tuned", "--out", place / "tuned-out")
    assert not (place / "tuned-out/modules.json").exists()
    classes_of_texts("trained", place / "tuned", place / "tuned-out")


# Audio.

def clips(place):
    generator = numpy.random.default_rng(2)
    files = []
    for number, samples in enumerate([16000, 9000, 12345, 4000]):
        path = place / f"{number}.wav"
        tone = numpy.sin(numpy.arange(samples) * (0.05 + 0.03 * number)) + 0.1 * generator.standard_normal(samples)
        with wave.open(str(path), "wb") as clip:
            clip.setnchannels(1), clip.setsampwidth(2), clip.setframerate(16000)
            clip.writeframes((8000 * tone).astype("<i2").tobytes())
        files.append(path)
    table = place / "clips.csv"
    table.write_text("path,text\n" + "".join(f"{file.name},{5 + i} {7 + i} 9\n" for i, file in enumerate(files * 4)))
    return table, files


def speech(place, model, extractor):
    table, files = clips(place)
    checkpoint = make(place / "checkpoint", model, extractor)
    (checkpoint / "generation_config.json").unlink(missing_ok=True)
    run, out = untrained(place, checkpoint)
    kept(checkpoint, out)
    tune(run, place / "tuned", f"data.source={table}")
    smalti("export", place / "tuned", "--out", place / "tuned-out")
    for what, run, export in [("untrained", run, out), ("trained", place / "tuned", place / "tuned-out")]:
        speech_encoder(f"{what}, encoder", run, export, files)


def speech_encoder(what, run, export, files):
    peer = load(tf.AutoModelForSpeechSeq2Seq, export)
    features = tf.AutoFeatureExtractor.from_pretrained(export)
    expected = []
    for file in files:
        with wave.open(str(file)) as clip:
            samples = numpy.frombuffer(clip.readframes(clip.getnframes()), "<i2") / 32768
        inputs = features(samples.astype(numpy.float32), sampling_rate=16000, return_tensors="pt")
        with torch.no_grad():
            expected.append(peer.get_encoder()(**inputs).last_hidden_state[0].mean(0))
    close(what, vectors(run, *files), torch.stack(expected))


def trajectories(place, model, _):
    """No Auto class prepares episodes: the export has the same weights."""
    checkpoint = make(place / "checkpoint", model)
    _, out = untrained(place, checkpoint)
    kept(checkpoint, out)
    peer = load(tf.AutoModel, out).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, peer[name]), name
    print("  untrained, weights: equal", flush=True)


GUIDE = (Path(__file__).parent / "../../src/guide/export.md").read_text()


def trained_here(place, kind, _):
    """The guide's task of a kind, trained from scratch."""
    task, run, out = place / "task.toml", place / "run", place / "out"
    task.write_text(re.search(rf"```toml\n# {kind}\n(.*?)```", GUIDE, re.DOTALL)[1])
    sets = [word for setting in SHORT for word in ("--set", setting)]
    if kind == "t5":
        pairs = place / "pairs.csv"
        pairs.write_text("source,target\n" + "".join(f"{text},{text[::-1]}\n" for text in TEXTS * 6))
        sets += ["--set", f"data.source={pairs}", "--set", "inputs.source.vocabulary={bpe=280}"]
    smalti("train", task, *sets, "--out", run)
    smalti("export", run, "--out", out)
    if kind == "vit":
        path = place / "digit.png"
        Image.fromarray(numpy.random.default_rng(4).integers(0, 256, (8, 8), dtype=numpy.uint8)).save(path)
        model = load(tf.AutoModelForImageClassification, out)
        inputs = tf.AutoImageProcessor.from_pretrained(out, use_fast=False)(
            numpy.asarray(Image.open(path))[:, :, None], return_tensors="pt", input_data_format="channels_last")
        names = [model.config.id2label[i] for i in range(model.config.num_labels)]
        with torch.no_grad():
            close("classes", probabilities(run, names, path), model(**inputs).logits.softmax(-1))
    elif kind == "whisper":
        _, files = clips(place)
        speech_encoder("encoder", run, out, files[1:])
    elif kind == "t5":
        peer = load(tf.AutoModelForSeq2SeqLM, out)
        close("encoder", vectors(run, texts=TEXTS, options=["--input", "source"]), each(out, peer.get_encoder()))
    else:
        auto = tf.AutoModelForMaskedLM if kind == "bert" else tf.AutoModelForCausalLM
        peer = load(auto, out)
        close("states", vectors(run, texts=TEXTS), each(out, peer))
    if kind in ("gpt2", "llama"):
        tokenizer = tf.AutoTokenizer.from_pretrained(out)
        prompt = tokenizer(TEXTS[0], return_tensors="pt")
        ids = peer.generate(**prompt, max_new_tokens=6, do_sample=False, pad_token_id=0)[0][prompt["input_ids"].shape[1]:]
        said = json.loads(smalti("generate", run, "--prompt", TEXTS[0], "--temperature", 0, "--max-new-tokens", 6, "--json"))["text"]
        assert said.replace("\ufffd", "") == tokenizer.decode(ids).replace("\ufffd", ""), said


def kinds(place):
    """For each kind: its check, a model, and what prepares its inputs."""
    wordpieces, bytes_ = pieces(place), words()
    bert = dict(BERT, vocab_size=len(wordpieces))
    roberta, xlm = robertas(place), unigrams()
    offset = dict(BERT, max_position_embeddings=34)
    of_bytes = dict(offset, vocab_size=len(roberta), pad_token_id=roberta.pad_token_id, type_vocab_size=1)
    of_pieces = dict(offset, vocab_size=len(xlm), pad_token_id=xlm.pad_token_id, type_vocab_size=1)
    distilled = tf.DistilBertTokenizerFast(vocab_file=str(place / "vocab.txt"))
    distil = dict(vocab_size=len(wordpieces), dim=32, hidden_dim=48, n_layers=2, n_heads=2, max_position_embeddings=32)
    begun, ended = words(begin=["<s>"]), words(end=["</s>"])
    size = len(bytes_)
    vit, deit = tf.ViTConfig(**VIT), tf.DeiTConfig(**VIT)
    whisper = tf.WhisperConfig(
        vocab_size=40, d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=48, decoder_ffn_dim=48, num_mel_bins=16, max_source_positions=50, max_target_positions=16, pad_token_id=2,
        bos_token_id=0, eos_token_id=1, decoder_start_token_id=0, suppress_tokens=None, begin_suppress_tokens=None)
    here = {f"trained-{kind}": (trained_here, kind, None) for kind in ["vit", "bert", "gpt2", "llama", "t5", "whisper"]}
    return here | {
        "vit": (images, tf.ViTForImageClassification(tf.ViTConfig(**VIT, **LABELS)), tf.ViTImageProcessor(size=SQUARE)),
        "vit-trunk": (images, tf.ViTModel(vit), tf.ViTImageProcessor(size=SQUARE)),
        "vit-siglip": (images, tf.ViTModel(vit, add_pooling_layer=False), tf.SiglipImageProcessor(size=SQUARE)),
        "vit-unprepared": (images, tf.ViTForImageClassification(tf.ViTConfig(**VIT, **LABELS)), None),
        "deit": (images, tf.DeiTForImageClassification(tf.DeiTConfig(**VIT, **LABELS)),
                 tf.DeiTImageProcessor(size=dict(height=40, width=40), crop_size=SQUARE)),
        "deit-trunk": (images, tf.DeiTModel(deit), tf.DeiTImageProcessor(size=dict(height=40, width=40), crop_size=SQUARE)),
        "dinov2": (images, tf.Dinov2Model(tf.Dinov2Config(**DINO)), tf.BitImageProcessor(**CROP)),
        "dinov2-registers": (images, tf.Dinov2WithRegistersModel(tf.Dinov2WithRegistersConfig(**DINO, num_register_tokens=3)),
                             tf.CLIPImageProcessor(**CROP)),
        "bert-trunk": (trunk_of_texts, tf.BertModel(tf.BertConfig(**bert)), wordpieces),
        "bert-masked": (trunk_of_texts, tf.BertForMaskedLM(tf.BertConfig(**bert)), wordpieces),
        "bert-classes": (classified_texts, tf.BertForSequenceClassification(tf.BertConfig(**bert, **LABELS)), wordpieces),
        "bert-labels": (classified_texts, tf.BertForSequenceClassification(
            tf.BertConfig(**bert, **LABELS, problem_type="multi_label_classification")), wordpieces),
        "bert-score": (scored_texts, tf.BertModel(tf.BertConfig(**bert)), wordpieces),
        "bert-sentences": (sentences, tf.BertModel(tf.BertConfig(**bert)), wordpieces),
        "bert-tags": (tags_of_texts, tf.BertForTokenClassification(tf.BertConfig(**bert, **LABELS)), wordpieces),
        "roberta-trunk": (trunk_of_texts, tf.RobertaModel(tf.RobertaConfig(**of_bytes)), roberta),
        "roberta-masked": (trunk_of_texts, tf.RobertaForMaskedLM(tf.RobertaConfig(**of_bytes)), roberta),
        "roberta-classes": (classified_texts, tf.RobertaForSequenceClassification(tf.RobertaConfig(**of_bytes, **LABELS)), roberta),
        "roberta-tags": (tags_of_texts, tf.RobertaForTokenClassification(tf.RobertaConfig(**of_bytes, **LABELS)), roberta),
        "roberta-sentences": (sentences, tf.RobertaModel(tf.RobertaConfig(**of_bytes)), roberta),
        "xlm-roberta-trunk": (trunk_of_texts, tf.XLMRobertaModel(tf.XLMRobertaConfig(**of_pieces)), xlm),
        "xlm-roberta-masked": (trunk_of_texts, tf.XLMRobertaForMaskedLM(tf.XLMRobertaConfig(**of_pieces)), xlm),
        "xlm-roberta-classes": (classified_texts, tf.XLMRobertaForSequenceClassification(
            tf.XLMRobertaConfig(**of_pieces, **LABELS)), xlm),
        "xlm-roberta-tags": (tags_of_texts, tf.XLMRobertaForTokenClassification(tf.XLMRobertaConfig(**of_pieces, **LABELS)), xlm),
        "distilbert-trunk": (trunk_of_texts, tf.DistilBertModel(tf.DistilBertConfig(**distil, sinusoidal_pos_embds=True)), distilled),
        "distilbert-masked": (trunk_of_texts, tf.DistilBertForMaskedLM(tf.DistilBertConfig(**distil)), distilled),
        "distilbert-classes": (classified_texts, tf.DistilBertForSequenceClassification(
            tf.DistilBertConfig(**distil, **LABELS)), distilled),
        "distilbert-tags": (tags_of_texts, tf.DistilBertForTokenClassification(tf.DistilBertConfig(**distil, **LABELS)), distilled),
        "gpt2-classes": (classified_texts, tf.GPT2ForSequenceClassification(
            tf.GPT2Config(**GPT2, **LABELS, vocab_size=size, pad_token_id=0)), bytes_),
        "gpt2-tags": (tags_of_texts, tf.GPT2ForTokenClassification(tf.GPT2Config(**GPT2, **LABELS, vocab_size=size)), bytes_),
        "gpt2-learns": (learned_by_decoder, tf.GPT2LMHeadModel(tf.GPT2Config(**GPT2, vocab_size=size)), bytes_),
        "gpt2-trunk-learns": (learned_by_decoder, tf.GPT2Model(tf.GPT2Config(**GPT2, vocab_size=size)), bytes_),
        "t5-encoder": (encoder_alone, tf.T5EncoderModel(tf.T5Config(**T5, vocab_size=size)), ended),
        "mt5": (text_to_text, tf.MT5ForConditionalGeneration(tf.MT5Config(**T5, vocab_size=size)), ended),
        "mt5-encoder": (encoder_alone, tf.MT5EncoderModel(tf.MT5Config(**T5, vocab_size=size)), ended),
        "gpt2": (language, tf.GPT2LMHeadModel(tf.GPT2Config(**GPT2, vocab_size=size)), bytes_),
        "llama": (language, tf.LlamaForCausalLM(tf.LlamaConfig(**LLAMA, vocab_size=size)), begun),
        "mistral": (language, tf.MistralForCausalLM(tf.MistralConfig(**LLAMA, vocab_size=size, sliding_window=8)), begun),
        "t5": (text_to_text, tf.T5ForConditionalGeneration(tf.T5Config(**T5, vocab_size=size)), ended),
        "whisper": (speech, tf.WhisperForConditionalGeneration(whisper),
                    tf.WhisperFeatureExtractor(feature_size=16, chunk_length=1)),
        "decision-transformer": (trajectories, tf.DecisionTransformerModel(tf.DecisionTransformerConfig(
            state_dim=3, act_dim=2, hidden_size=16, n_head=2, n_layer=1, n_positions=40, max_ep_len=20)), None),
    }


failed = []
with tempfile.TemporaryDirectory() as temporary:
    torch.manual_seed(1)
    for kind, (check, model, prepares) in kinds(Path(temporary)).items():
        if sys.argv[2:] and kind not in sys.argv[2:]:
            continue
        print(kind, flush=True)
        place = Path(temporary) / kind
        place.mkdir()
        try:
            check(place, model, prepares)
        except Exception:
            failed.append(kind)
            traceback.print_exc()
        shutil.rmtree(place)
sys.exit(f"failed: {', '.join(failed)}" if failed else 0)

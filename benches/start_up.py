"""Compare the start of smalti with transformers', in turn: seconds to the first token, and peak memory, of a new process.

    python benches/start_up.py SMALTI [--work FOLDER] [--rounds 5] [--repeat 1]

The checkpoint is made here: a Llama with the settings of SmolLM2-135M, random weights in bfloat16 as that one has, and a
byte-level BPE of 49,152 tokens trained on random words. transformers loads the checkpoint and smalti its import, both to
f32, in new processes on the same cores; the files lie in the page cache for both. Needs torch, transformers and tokenizers;
Linux, for the peak memory of a process.
"""
import argparse
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

PROMPT = "the first token of a text"

THEIRS = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
ids = tokenizer(sys.argv[2], return_tensors="pt")
with torch.inference_mode():
    out = model.generate(**ids, max_new_tokens=1, do_sample=False)
print(tokenizer.decode(out[0]))
"""


def vocabulary(folder, size):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    draw = random.Random(0)
    syllables = [a + b + c for a in "bcdfghjklmnprstvwz" for b in "aeiou" for c in ["", "n", "r", "s", "t"]]
    words = ["".join(draw.choices(syllables, k=draw.randint(1, 5))) for _ in range(60_000)]
    texts = [" ".join(draw.choices(words, k=20)) for _ in range(20_000)] + [PROMPT] * 50
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    names = ["input_ids", "attention_mask"]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", model_input_names=names)
    fast.save_pretrained(folder)
    return len(fast)


def checkpoint(folder):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, max_position_embeddings=8192, rope_theta=100_000.0, rms_norm_eps=1e-5,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    n_ids = vocabulary(folder, config.vocab_size)
    print(f"checkpoint: {os.path.getsize(f'{folder}/model.safetensors') / 1e6:.0f} MB, {n_ids} ids")


def measure(command):
    """Seconds and peak resident bytes of a process, and what it prints."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    printed = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[:3]} failed: {printed}")
    return seconds, usage.ru_maxrss * 1024, printed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("smalti")
    parser.add_argument("--work", help="a folder that keeps the checkpoint and its import; default: a temporary one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=1, help="times that the prompt of six words is repeated")
    arguments = parser.parse_args()
    prompt = " ".join([PROMPT] * arguments.repeat)
    temporary = tempfile.TemporaryDirectory()
    work = arguments.work or temporary.name
    published, run = f"{work}/checkpoint", f"{work}/run"
    if not os.path.exists(f"{published}/tokenizer.json"):
        # In a process of its own: a child's peak begins at the size of the process that starts it.
        maker = multiprocessing.get_context("spawn").Process(target=checkpoint, args=(published,))
        maker.start()
        maker.join()
        if maker.exitcode:
            sys.exit("the checkpoint was not made")
    smalti = os.path.abspath(arguments.smalti)
    if not os.path.exists(f"{run}/run.toml"):
        seconds, peak, _ = measure([smalti, "import", published, "--out", run])
        print(f"smalti import: {seconds:.2f} s, {peak / 1e6:.0f} MB")
    weights = os.path.getsize(f"{run}/model.safetensors")
    first = [smalti, "generate", run, "--prompt", prompt, "--max-new-tokens", "1", "--temperature", "0", "--device", "cpu"]
    sides = {
        "transformers": [sys.executable, "-c", THEIRS, published, prompt],
        "smalti": first,
        "smalti info": [smalti, "info", run],
    }
    found = {name: [] for name in sides}
    for number in range(arguments.rounds):
        for name, command in sides.items():
            found[name].append(measure(command))
            seconds, peak, _ = found[name][-1]
            print(f"round {number + 1}: {name} {seconds:.2f} s, {peak / 1e6:.0f} MB", flush=True)
    for name, rounds in found.items():
        seconds, peak = (statistics.median(values) for values in list(zip(*rounds))[:2])
        print(f"{name}: median {seconds:.3f} s, peak {peak / 1e6:.0f} MB, {peak / weights:.2f} of the weights in f32")
    texts = {found[name][0][2].strip().splitlines()[-1] for name in ["transformers", "smalti"]}
    print("both continue with the same token" if len(texts) == 1 else f"the first tokens differ: {texts}")


if __name__ == "__main__":
    main()

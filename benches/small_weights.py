"""Compare int8 and int4 weights with f32: the perplexity of an imported Llama, and tokens generated per second.

    python benches/small_weights.py SMALTI TEXT [--work FOLDER] [--steps 400] [--rounds 3]

Perplexity: transformers trains a small Llama on the first nine tenths of TEXT; smalti imports it, and measures the last tenth
with each type of weights. Speed: a Llama with the settings of SmolLM2-135M and random weights, as start_up.py makes it, continues a
text greedily, with each type in turn. Needs torch, transformers and tokenizers.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile

from start_up import checkpoint

TYPES = ["f32", "int8", "int4"]


def train(text, folder, steps):
    """Train a Llama of 4 layers on the text, and save it with its vocabulary."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1024, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    tokenizer.train_from_iterator([text], trainer)
    ids = torch.tensor(tokenizer.encode(text).ids)
    config = LlamaConfig(
        vocab_size=1024, hidden_size=256, intermediate_size=704, num_hidden_layers=4, num_attention_heads=8,
        num_key_value_heads=4, max_position_embeddings=256, bos_token_id=0, eos_token_id=0,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    for step in range(steps):
        starts = torch.randint(len(ids) - 129, (16,)).tolist()
        batch = torch.stack([ids[start : start + 128] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.item():.3f}", flush=True)
    model.save_pretrained(folder)
    names = ["input_ids", "attention_mask"]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", model_input_names=names)
    fast.save_pretrained(folder)


def printed(command):
    """The JSON object that a command prints."""
    return json.loads(subprocess.run([*command, "--json"], check=True, capture_output=True).stdout)


def imported(smalti, published, run):
    """Import a checkpoint, if that has not been done."""
    if not os.path.exists(f"{run}/run.toml"):
        subprocess.run([smalti, "import", published, "--out", run], check=True, capture_output=True)
    return run


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("smalti")
    parser.add_argument("text")
    parser.add_argument("--work", help="a folder that keeps the models; default: a temporary one")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    temporary = tempfile.TemporaryDirectory()
    work, smalti = arguments.work or temporary.name, os.path.abspath(arguments.smalti)

    text = open(arguments.text, encoding="utf-8").read()
    cut = len(text) * 9 // 10
    rest = f"{work}/rest.txt"
    os.makedirs(work, exist_ok=True)
    open(rest, "w", encoding="utf-8").write(text[cut:])
    if not os.path.exists(f"{work}/small/tokenizer.json"):
        train(text[:cut], f"{work}/small", arguments.steps)
    run = imported(smalti, f"{work}/small", f"{work}/small-run")
    found = {}
    for dtype in TYPES:
        evaluated = printed([smalti, "eval", run, "--data", rest, "--dtype", dtype, "--device", "cpu"])
        (metrics,) = evaluated.values()
        found[dtype] = metrics["perplexity"]
        print(f"perplexity {dtype}: {found[dtype]:.4f}, {100 * (found[dtype] / found['f32'] - 1):+.2f}%", flush=True)

    if not os.path.exists(f"{work}/checkpoint/tokenizer.json"):
        checkpoint(f"{work}/checkpoint")
    run = imported(smalti, f"{work}/checkpoint", f"{work}/run")
    command = [smalti, "generate", run, "--prompt", "the first token", "--max-new-tokens", "100", "--temperature", "0"]
    speeds = {dtype: [] for dtype in TYPES}
    for _ in range(arguments.rounds):
        for dtype in TYPES:
            speeds[dtype].append(printed([*command, "--device", "cpu", "--dtype", dtype])["tokens_per_s"])
    for dtype, rounds in speeds.items():
        ratios = [speed / f32 for speed, f32 in zip(rounds, speeds["f32"])]
        print(f"generate {dtype}: {statistics.median(rounds):.1f} tokens/s, {statistics.median(ratios):.2f} of f32")


if __name__ == "__main__":
    main()

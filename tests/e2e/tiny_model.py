"""Makes a language model of three megabytes that a real Ollama serves, and that says the same words every time.

The file is a GGUF (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) of the `llama` architecture: one layer,
one head, random weights, and a byte-pair vocabulary learned from Python's own documentation, so that OpenClaw's prompt
of about 14 000 tokens is not much longer here. Random words would end an answer at random, and OpenClaw asks for up to
8192 tokens; so the output matrix is made of the embeddings: any prompt leads to the first of `WORDS`, each word to the
next one, and the last to the end.
"""

from __future__ import annotations

import hashlib
import re
import sys
import sysconfig
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np

WIDTH = 32
HEAD = 8  # attention over the whole prompt is what takes the time: 20 000 tokens in 5 s on two cores
FEED_FORWARD = 64
CONTEXT = 32768
PREDICT = 64
ROUNDS = 60
MERGES_EACH_ROUND = 250
WORDS = 48
SPECIAL = ("<|unknown|>", "<|begin|>", "<|end|>")
SPOKEN = re.compile(r"Ġ[a-z]{5,}")
PIECE = re.compile(r" ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]+|\s+")

Matrix = np.ndarray[Any, np.dtype[np.float32]]

MODELFILE = f"""FROM ./tiny.gguf
TEMPLATE \"\"\"{{{{- if .Tools }}}}Tools: {{{{ .Tools }}}}
{{{{ end }}}}{{{{- range .Messages }}}}
{{{{ .Role }}}}: {{{{ .Content }}}}
{{{{- range .ToolCalls }}}}
{{{{ "{{" }}}}"name": "{{{{ .Function.Name }}}}", "arguments": {{{{ .Function.Arguments }}}}}}
{{{{- end }}}}
{{{{- end }}}}
assistant: \"\"\"
PARAMETER num_ctx {CONTEXT}
PARAMETER num_predict {PREDICT}
PARAMETER temperature 1
"""


def _byte_letters() -> dict[int, str]:
    """GPT-2's way to write every byte as a printable letter (`bytes_to_unicode` in its encoder.py)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [each for each in range(256) if each not in plain]
    return {each: chr(each) for each in plain} | {each: chr(256 + at) for at, each in enumerate(others)}


def _text() -> str:
    library = Path(sysconfig.get_path("stdlib"))
    names = ("pydoc_data/topics.py", "argparse.py", "asyncio/base_events.py", "subprocess.py", "json/__init__.py")
    return "".join((library / name).read_text(encoding="utf-8") for name in names if (library / name).is_file())


def _merge(word: list[str], pairs: dict[tuple[str, str], int]) -> list[str]:
    merged: list[str] = []
    for letter in word:
        if merged and (merged[-1], letter) in pairs:
            merged[-1] += letter
        else:
            merged.append(letter)
    return merged


def _learn() -> tuple[list[str], list[str]]:
    """Tokens and merge rules of a byte-pair vocabulary. Many merges a round: as good here, much faster."""
    letters = _byte_letters()
    counted = Counter(PIECE.findall(_text()))
    words = [([letters[byte] for byte in piece.encode()], count) for piece, count in counted.most_common(12000)]
    tokens = [letters[byte] for byte in range(256)]
    known, rules = set(tokens), []
    for _ in range(ROUNDS):
        seen: Counter[tuple[str, str]] = Counter()
        for word, count in words:
            for pair in pairwise(word):
                seen[pair] += count
        chosen: dict[tuple[str, str], int] = {}
        for pair, _count in seen.most_common(4 * MERGES_EACH_ROUND):
            # A letter that ends one chosen pair must not begin another, or the order of the rules would matter.
            if any(pair[0] == right or pair[1] == left for left, right in chosen):
                continue
            chosen[pair] = len(chosen)
            if len(chosen) == MERGES_EACH_ROUND:
                break
        for left, right in chosen:
            rules.append(f"{left} {right}")
            if left + right not in known:
                known.add(left + right)
                tokens.append(left + right)
        words = [(_merge(word, chosen), count) for word, count in words]
    return tokens, rules


def _write(path: Path, tokens: list[str], rules: list[str]) -> None:
    vocabulary = [*SPECIAL, *tokens]
    kinds = [gguf.TokenType.CONTROL] * len(SPECIAL) + [gguf.TokenType.NORMAL] * len(tokens)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("clawloops-tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_vocab_size(len(vocabulary))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_types(kinds)
    writer.add_token_merges(rules)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)

    rng = np.random.default_rng(20260101)

    def tensor(*shape: int, scale: float = 1.0) -> Matrix:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    chain = [at for at, token in enumerate(vocabulary) if SPOKEN.fullmatch(token)][:WORDS]
    start = tensor(WIDTH)
    embedding = start + tensor(len(vocabulary), WIDTH, scale=0.1)
    embedding[chain] = tensor(WORDS, WIDTH)
    output = np.zeros_like(embedding)
    for said, following in pairwise([None, *chain, SPECIAL.index("<|end|>")]):
        direction = start if said is None else embedding[said]
        output[following] = 20 * direction / np.linalg.norm(direction)
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output.weight", output)
    for norm in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{norm}.weight", np.ones(WIDTH, dtype=np.float32))
    for name in ("attn_q", "attn_k", "attn_v"):
        writer.add_tensor(f"blk.0.{name}.weight", tensor(HEAD, WIDTH, scale=0.02))
    writer.add_tensor("blk.0.attn_output.weight", tensor(WIDTH, HEAD, scale=0.02))
    for name in ("ffn_gate", "ffn_up"):
        writer.add_tensor(f"blk.0.{name}.weight", tensor(FEED_FORWARD, WIDTH, scale=0.02))
    writer.add_tensor("blk.0.ffn_down.weight", tensor(WIDTH, FEED_FORWARD, scale=0.02))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(folder: Path) -> Path:
    """Writes `tiny.gguf` and `Modelfile` below `folder` and returns their folder; made once for each version of us."""
    made_by = hashlib.sha256(Path(__file__).read_bytes() + sys.version.encode()).hexdigest()[:12]
    place = folder / f"tiny-model-{made_by}"
    if not (place / "Modelfile").exists():
        place.mkdir(parents=True, exist_ok=True)
        _write(place / "tiny.gguf", *_learn())
        (place / "Modelfile").write_text(MODELFILE)
    return place


if __name__ == "__main__":
    print(make(Path(sys.argv[1])))

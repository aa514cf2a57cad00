"""Tiny BERT, MPNet and RoBERTa folders with random weights, as the hub's client leaves them, and texts."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch

from model.data.splits import SequenceData, Split
from model.data.streams import Text
from model.networks.text_mean import TextMean, TextMeanConfig
from model.research.checkpoint import ResearchCheckpoint, ResearchManifest
from model.research.presets import training_plan
from model.text.choice import load_encoder
from model.text.tunable import TunableText

WORDS = [
    "good",
    "bad",
    "fine",
    "awful",
    "great",
    "poor",
    "film",
    "scene",
    "actor",
    "story",
    "it",
    "was",
    "the",
    "a",
    "very",
    "not",
    "and",
    "this",
    "that",
    "plot",
]
GOOD, BAD = {"good", "fine", "great"}, {"bad", "awful", "poor"}
SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 24, "max_position_embeddings": 80}


def write_bert(folder: Path) -> Path:
    return _write_with_word_pieces(folder, "Bert", seed=0)


def write_mpnet(folder: Path) -> Path:
    return _write_with_word_pieces(folder, "MPNet", seed=2)


def _write_with_word_pieces(folder: Path, layout: str, seed: int) -> Path:
    import transformers

    vocabulary = _write_word_pieces(folder)
    torch.manual_seed(seed)
    config = getattr(transformers, f"{layout}Config")(
        vocab_size=vocabulary, pad_token_id=0, **SIZES
    )
    getattr(transformers, f"{layout}Model")(config).save_pretrained(folder)
    return folder


def _write_word_pieces(folder: Path) -> int:
    """The tokenizer; gives how many tokens it knows."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    made = Tokenizer(models.WordPiece({w: i for i, w in enumerate(names)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    marks = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    marks |= {"sep_token": "[SEP]", "mask_token": "[MASK]"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=made, **marks)
    tokenizer.save_pretrained(folder)
    return len(names)


def write_roberta(folder: Path) -> Path:
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {name: i for i, name in enumerate([*marks, *letters])}
    made = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", pad_token="<pad>", cls_token="<s>",
        sep_token="</s>", mask_token="<mask>",
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = transformers.RobertaConfig(
        vocab_size=len(vocabulary), pad_token_id=1, bos_token_id=0, eos_token_id=2, **SIZES
    )
    transformers.RobertaModel(config).save_pretrained(folder)
    return folder


def write_teacher(encoder: Path, folder: Path, seed: int) -> ResearchCheckpoint:
    """A checkpoint of words alone whose uppermost layer was tuned: moved a little."""
    plan = training_plan("text", encoder=str(encoder), tune="upper:1", text="encoder")
    states = cast(TunableText, load_encoder(str(encoder), "upper:1"))
    torch.manual_seed(seed)
    tuned = {name: value + 0.1 * torch.randn_like(value) for name, value in states.tuned().items()}
    config = TextMeanConfig(widths=(states.width, 1, 1))
    manifest = ResearchManifest(
        plan=plan, seed=seed, best_epoch=1, words=config, text_encoder=str(encoder),
        text_learned=len(tuned), data="made", low=-3.0, high=3.0,
    )  # fmt: skip
    found = ResearchCheckpoint(TextMean(config).eval(), manifest, text=tuned)
    found.save(folder)
    return found


def texts(sizes: dict[str, int], name: str = "made") -> SequenceData:
    """Sentences of the words above; the label is how many are good less how many are bad."""
    chance = np.random.default_rng(3)
    splits = {}
    for title, size in sizes.items():
        rows = [chance.choice(WORDS, chance.integers(2, 12)).tolist() for _ in range(size)]
        labels = [sum((w in GOOD) - (w in BAD) for w in row) for row in rows]
        splits[title] = Split(
            tuple(f"{title}/{row}" for row in range(size)),
            np.clip(np.array(labels, np.float32), -3, 3),
            Text(tuple(" ".join(row) for row in rows)),
        )
    return SequenceData(name, splits)

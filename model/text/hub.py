"""Text encoders as transformers models: the embedded ones, the hub's by name, or a folder.

Nothing is fetched here. What is not on this machine is named with the command that brings it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from peft import LoraConfig, inject_adapter_in_model
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn

from features.errors import AssetError
from features.hub_models import hub_folder, is_here
from model.text.tunable import TunableText
from model.text.weights import bert_weights

LAYOUTS: Final = ("bert", "camembert", "mpnet", "roberta", "xlm-roberta")
ADAPTED: Final = ("query", "value")  # as Hu et al. 2021 (LoRA) found enough
MPNET: Final = "mpnet"  # its attention adds a bias, and has no faster form
ADAPTED_MPNET: Final = ("q", "v")
ARCHIVE: Final = "all-mpnet-base-v2.zip"  # how its registry packages carry it
ARCHIVED: Final = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")


def embedded(name: str, folder: Path) -> TunableText:
    """gte-small or MiniLM from the folder of its verified files.

    Raises :class:`AssetError` for missing and foreign files.
    """
    try:
        config = transformers.BertConfig.from_json_file(folder / "config.json")
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # tokenizers raises nothing more specific
        raise AssetError(f"{folder}: not the files of {name} ({error})") from error
    config._attn_implementation = "sdpa"
    model = transformers.BertModel(config, add_pooling_layer=False)
    onnx, plain = folder / "model.onnx", folder / "model.safetensors"
    try:
        weights = bert_weights(onnx) if onnx.is_file() else load_file(plain)
        own = {key: weights[key] for key in model.state_dict()}
        model.load_state_dict(own)
    except (KeyError, OSError, RuntimeError, SafetensorError) as error:
        raise AssetError(f"{folder}: not the weights of {name} ({error})") from error
    unknown, padding = tokenizer.token_to_id("[UNK]"), tokenizer.token_to_id("[PAD]")
    if unknown is None or padding is None:
        raise AssetError(f"{folder}: not the files of {name} (its tokenizer has no [UNK] or [PAD])")
    return TunableText(name, model, tokenizer, unknown, padding, True, add_lora)


def archived(name: str, folder: Path) -> TunableText:
    """MPNet out of the archive in the folder of its verified file, read as the hub's folder is.

    Raises :class:`AssetError` for an archive that holds something else.
    """
    path = folder / ARCHIVE
    with tempfile.TemporaryDirectory() as place:
        try:
            with zipfile.ZipFile(path) as packed:
                for member in ARCHIVED:
                    data = packed.read(f"{path.stem}/{member}")
                    (Path(place) / member).write_bytes(data)
        except (KeyError, OSError, zipfile.BadZipFile) as error:
            raise AssetError(f"{path}: not the files of {name} ({error})") from error
        return _read_in(place, name, as_heard=True)


def from_hub(name: str) -> TunableText:
    """A BERT or RoBERTa by its name in the hub, out of a cache on this machine, or from a folder.

    The caches are ours (``tonality models hub NAME``) and that of the hub's own client.
    Weights must be safetensors. Raises :class:`AssetError` that says how to get what is missing.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir() and is_here(name):
        place = str(hub_folder(name))
    else:
        place = str(folder) if folder.is_dir() else name
    return _read_in(place, str(folder.resolve()) if folder.is_dir() else name, as_heard=False)


def _read_in(place: str, name: str, as_heard: bool) -> TunableText:
    with _quiet():
        config = _read(transformers.AutoConfig, place, name)
        if config.model_type not in LAYOUTS:
            raise AssetError(
                f"{name} is a '{config.model_type}'; encoders of the layouts "
                f"{', '.join(LAYOUTS)} can be used"
            )
        tokenizer = _read(transformers.AutoTokenizer, place, name)
        model = _read(
            transformers.AutoModel, place, name, add_pooling_layer=False, use_safetensors=True,
            attn_implementation="eager" if config.model_type == MPNET else "sdpa",
            dtype=torch.float32,
        )  # fmt: skip
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or tokenizer.unk_token_id is None or tokenizer.pad_token_id is None:
        raise AssetError(f"{name}: its tokenizer has no quick form with unknown and padding tokens")
    unknown, padding = int(tokenizer.unk_token_id), int(tokenizer.pad_token_id)
    return TunableText(name, model, backend, unknown, padding, as_heard, add_lora)


def add_lora(model: nn.Module, rank: int) -> None:
    """Adapters on queries and values of every layer, in place (peft); all else is frozen."""
    layout = getattr(model.config, "model_type", "")
    adapted = list(ADAPTED_MPNET if layout == MPNET else ADAPTED)
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.1, target_modules=adapted, bias="none"
    )
    inject_adapter_in_model(config, model)


def _read(kind: Any, place: str, name: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(place, local_files_only=True, **options)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split()).split(". ")[0]
        if Path(place).is_dir():
            raise AssetError(f"{name}: not the folder of an encoder ({reason})") from error
        raise AssetError(
            f"{name} is not on this machine: fetch it with 'tonality models hub {name}', or name "
            "the folder where config.json, tokenizer and model.safetensors lie"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No bars and reports of transformers, and no question of it to the hub."""
    before = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before

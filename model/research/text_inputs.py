"""The one form in which a data set's words reach a network: an encoder's tokens, or the file's features."""

from __future__ import annotations

from dataclasses import replace

from features.errors import FeatureError
from model.data.splits import SequenceData, Split
from model.data.streams import Text
from model.research.network_input import BERT_UNKNOWN, tokenised
from model.text.states import TextStates
from model.text.tunable import TunableText


def encoder_name(encoder: TextStates | None) -> str:
    """What a user calls the encoder; empty where there is none."""
    if encoder is None:
        return ""
    return encoder.name if isinstance(encoder, TunableText) else "gte-small"


def encoder_sha256(encoder: TextStates | None) -> str:
    """Of its weights before any tuning; empty for the frozen gte-small, whose files are verified."""
    return encoder.sha256 if isinstance(encoder, TunableText) else ""


def with_tokens(data: SequenceData, encoder: TextStates) -> SequenceData:
    """Words as tokens and in no other form, so that a lost word is lost in the only one there is."""
    splits = {}
    for name, split in data.splits.items():
        if split.text is not None:
            told = _tokens_for(split, encoder, data.name)
            split = replace(told, text=replace(_text(told), features=None))
        splits[name] = split
    return replace(data, splits=splits)


def _tokens_for(split: Split, encoder: TextStates, name: str) -> Split:
    """The file's own ids, which are BERT's, where the encoder knows them; else its words' tokens."""
    own = _text(split)
    bert = not isinstance(encoder, TunableText) or encoder.knows_bert_ids
    if own.tokens is not None and bert:
        return split
    if own.raw is None:
        raise FeatureError(
            f"{name} has the ids of bert-base-uncased and no words; "
            f"{encoder_name(encoder)} does not know these ids"
        )
    unknown = encoder.unknown if isinstance(encoder, TunableText) else BERT_UNKNOWN
    return tokenised(split, encoder, unknown)


def one_text(data: SequenceData) -> SequenceData:
    """Without the ids of words whose features have other steps: one mask cannot be of both."""
    splits = {}
    for name, split in data.splits.items():
        splits[name] = split
        own = split.text
        if own is None or own.tokens is None or own.features is None:
            continue
        if own.tokens.ids.shape != own.features.valid.shape:
            splits[name] = replace(split, text=replace(own, tokens=None))
    return replace(data, splits=splits)


def _text(split: Split) -> Text:
    assert split.text is not None
    return split.text

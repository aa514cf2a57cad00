"""What the results page says around its tables, and the published numbers beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

HEAD: Final = """# Results on research data

Made by `python -m model.results page --records RESULTS --out docs/results`; without `--records` it is
made again from [results.json](results.json), which holds every run's numbers.

How to read it:

- **mean ± deviation** over n seeds (deviation of a sample, n - 1); one number where there is one run.
- The epoch is selected on validation; the test split is judged after that, once for each protocol.
- **Not blind**: while the settings were found, test numbers of trial runs were in view (when gte-small's
  sentence vectors and the patience were chosen), and earlier results were thrown away and run again
  after changes: runs that learned nothing, all sequences, all single utterances.
- **Acc-2 Has0**: negative against non-negative, all samples. **Non0**: negative against positive,
  labels of zero left out. **F1** is weighted by how often a class is the label. **Acc-5, Acc-7**:
  clipped and rounded. **r**: Pearson's. Accuracies and F1 in percent. Labels on other scales are
  moved to -3..3 for all but MAE, which stays in the labels' own units (`model.metrics`).
- **Protocol B** (LNLN): one model; each step of each modality is lost with the same probability, 0 to .9;
  the mean over these rates. **Protocol C**: whole modalities are missing. **Noise**: Gaussian, on
  features scaled to unit deviation. All masks are drawn from fixed seeds (`model.data.protocols`).
- **RTIL, SATI, SVR, MITR-DNet** are ours, as *intended* unless *(faithful)* is said, which behaves
  as the published code does (`model.networks.rtil_family`, `model.networks.mitr`).
- "Better" and "worse" in comparisons say that the 95 % interval of the mean difference over the
  seeds leaves zero out (Student's t, pairs of one seed, not corrected for the number of comparisons);
  "no difference shown" says that it does not, which is weaker than "no difference".
- *learned nothing*: validation was no better than that of the constant which is best there, so that the
  test number means nothing. One bar for our networks and MMSA's; it is not asked of the ridge, a baseline.
- No number here stands beside a paper's on other data; published rows are marked.

**Machine**: {host}, one thread, shared with other work: a processor only, no GPU was at hand. So there
is no comparison of CPU and GPU, and *s / epoch* are seconds of the processor, an upper bound.

**Sizes**: one core trained all of this. All networks of the RTIL family have feed-forward layers of 512
columns instead of 2048 (*feedforward 2048* among the ablations is the published width). Training ends
after 20 epochs, or 5 without a better one (12 and 3 on utterances in context) once validation is better than
a constant's. *Faithful* networks behave as published, but are trained by our optimiser: at the published
rate (1.7e-5) they would need hundreds of epochs. All of it stands in `model.results.experiments`.
"""

SHORT: Final = """## In short

- On CMU-MOSI words decide. With gte-small's text every network is far ahead of the ridge on the file's
  columns; audio and vision add nothing that can be shown, and vision, whose columns knew the validation
  labels, misleads RTIL and MITR-DNet.
- With words alone the encoder decides: MPNet, three times as large, is about a point more accurate than
  gte-small, and gte-small a point and a half more than MiniLM, each tuned whole after the same sentences.
- Audio alone and vision alone teach nothing there that holds on other videos.
- Without text the RTIL family is fragile: its fusion has nothing to lead it, and with the published weights
  of its alignment losses it stays at a constant on MMMO, where MITR-DNet and MMSA's TFN learn most.
  On YouTube no network beats the best constant on validation, neither ours nor MMSA's.
- None of the three claims could be shown here: almost all differences are smaller than what the seeds can
  tell apart. On single utterances RTIL is better *without* CMD than with it.
"""

TEXT_NOTE: Final = """Raw words, split 1284 / 229 / 686, labels -3..3; a text encoder and a linear answer on the
mean of its states. *upper:4*: the upper four layers are tuned, *all*: embeddings too, *lora*: rank 8 on
queries and values, each for 3 epochs; *first learned on sst*: one epoch on the 8,544 training sentences of
the Stanford Sentiment Treebank, one such start for all seeds. Seconds include judging. Published rows are
text-only results on this split, of models that were built around tuned BERT.
"""

MOSI_WARNING: Final = """The split of Poria et al. (2017): 1211 utterances for training and 236 for validation, of
62 videos, and 752 of 31 other videos for test. *in context*: each utterance between three neighbours on
either side, a sequence of seven; *alone*: a sequence of one.

**A trap in this data.** The file's text and vision columns are outputs of networks that were trained with
the labels of all 62 videos, the validation videos too. So validation flatters both, vision most of all: a
ridge on vision reaches r .66 there and .08 on test. No selection on validation can see that, and every
model with vision trusts it too much, the ridge as well. Therefore rows with *gte-small* take the mean of
frozen gte-small's states over an utterance's words instead of the text columns: these never saw a label.
Vision has no such stand-in; compare *text* with *text, audio and vision*.

MITR-DNet takes the mean over a sequence, and so cannot tell the utterance that is judged from its
neighbours: in context it is the wrong network for the task, and its rows there say only that.
A sequence of one has no neighbouring steps, so that SVR's term is empty and SVR is SATI.

Rows marked *(MMSA)* are networks of the MMSA package 2.2.1 with its own training loops, hyper-parameters
(those for CMU-MOSI) and early stopping, on the same samples, splits, scaling and metrics
(`python -m model.results.peers`); with *gte-small* they take the states of the words, not their mean. All but MulT
see voice and face as means over time.
"""

SEQUENCES_NOTE: Final = """Word-aligned sequences of 20 steps (Zadeh et al. 2018), without text, since its
training part does not exist in the published files. MMMO: 220 / 40 / 80 samples, sentiment 1..5; POM: 600
/ 100 / 203, the first of 17 ratings 1..7, whose order no source states; YouTube: 173 / 36 / 60, three
classes. Vision is zero in most steps of POM and YouTube. The splits are so small that a deviation of
several points is chance: on YouTube one sample is 1.7 points.

With the published weights of the discriminator's loss (.4) and of CMD (1) the RTIL family never left a
constant on MMMO, in batches of 16, at rates from 5e-4 to 2e-3 (validation, one seed): the codes became alike
before they said anything. So here, and here alone, they weigh .01 and .1, chosen on MMMO's validation.

Our networks here are trained on complete data, then judged with parts lost; what training with losses
adds is the third claim below. *constant* says the median (or the most frequent class); *ridge* is linear
on the means over known steps, its penalty chosen on validation. Rows marked *(MMSA)* get zeros for lost
parts, since they know no masks, and 20 steps of zeros for the text, since none can do without a text.
"""

CLAIMS: Final = """Each claim is tested by pairs that differ in nothing else, seed by seed. With so few seeds
only large differences can be shown: "no difference shown" is no proof of none. A line is of the seeds that
both sides have. Seeds that *learned nothing* are counted and stay in, since leaving them out would choose
runs by what came of them; where they are many, a line says little about the part that it asks for.
"""

LIMITS: Final = """## What is not here, and why

- **Peers.** {peers}
- **A GPU.** None was at hand: no CPU against GPU, no mixed precision where it pays.
- **The papers' own benchmark with audio and vision.** Features of CMU-MOSI, CMU-MOSEI and CH-SIMS as MMSA
  hands them out are not at hand, so the papers' tables cannot be reproduced; the readers for them are
  tested on files of exactly that format.
- **The published length of training** of the RTIL family (50 epochs at 1.7e-5, tuning RoBERTa).
- **Protocol A** (one model trained for each of 11 rates) costs eleven times what B does; `tonality
  evaluate --protocol A` judges one model at all rates and says so.
- **Text of ICT-MMMO, POM and YouTube**: its training part was never published.
"""

PEERS: Final = ("LF_DNN", "LMF", "TFN", "MFN", "MulT")
PEER_SETS: Final = ("mosi-utterances", "mmmo", "pom", "youtube")
# Text-only rows on the standard split of CMU-MOSI, as published.
PUBLISHED: Final[tuple[tuple[str, str, Mapping[str, str]], ...]] = (
    ("a model of LNLN's family, text alone at test", "BERT",
     {"mae": ".731", "acc2_has0": "82.75", "acc2_non0": "84.91"}),
    ("ALMT, ablated to text", "BERT", {"mae": ".752", "acc7": "46.79"}),
)  # fmt: skip

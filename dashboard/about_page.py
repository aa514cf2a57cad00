"""The page that says what the score is: how to read it, its limits, the law, and the model card."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import streamlit as st

CARD = Path(__file__).parents[1] / "model" / "checkpoints" / "live" / "MODEL_CARD.md"

READING = """
**The score** runs from −3 (very negative) over 0 (neutral) to +3 (very positive). It is about the
last four seconds, and comes anew every half second. It estimates how people who labelled clips
would have judged such a moment. It does not know what anybody feels.

**The band** around the curve is an interval meant to hold the labels' score in 80 % of cases. Where
it is wide, or crosses zero, the sign means little.

**The lanes** say what words, voice and face give when each is read alone; *adds* is by how much the
fused score changes when that one is hidden. A grey stretch means that it was missing: nobody spoke,
no face was in view, or it is switched off.

**A gap** in the curve: nothing was seen, heard or said. Nothing is made up for it.

**Pale and slanted words** are tentative: the recogniser may still change them, and they are not
scored yet. That is why the newest part of the curve is drawn lighter: it may still move.

**The colours** run from orange (negative) over grey to blue (positive), which people with any common
colour blindness tell apart; sign and place say the same.
"""

LIMITS = """
- It is weak on irony, questions, quotations, and on any language but English.
- A voice that speaks up is read as more negative than it is; everyday voices less surely than acted.
- A face says little beyond smiles; a face at rest is drawn towards zero.
- Glasses, beards, low light, side views, accents, ages and groups of people were not measured.
- It must not decide about anyone: not in hiring, exams, policing, insurance, diagnosis or care, and
  it is no lie detector.
"""

LAW = """
**Workplaces and schools in the EU.** To infer emotions of people there from face or voice is
**prohibited** (AI Act, article 5(1)(f)), except for medical or safety reasons. Elsewhere people
exposed to it must be told (article 50(3)); with *Use: Words* alone neither face nor voice is read,
and words are not biometric.

**Consent.** Face and voice are personal data: tell everybody who can be seen or heard what runs, what
for, and what is kept, and stop when somebody says no.

**Licences.** Tonality is under Apache-2.0, with three exceptions. The voice descriptors come from
openSMILE, whose licence allows private, research and educational use but **no commercial products**;
without voice it is not run. The shipped network was trained on data sets for **non-commercial**
research (RAVDESS is CC BY-NC-SA 4.0, CMU-MOSI and FER2013 are for research). The demo clip comes out
of PsychoPy (GPL-3.0).

This is no legal advice.
"""


def show() -> None:
    """How to read the score first, then where it ends, then everything about the network."""
    st.title("About this score")
    with st.container(key="about"):
        _tabs()


def _tabs() -> None:
    reading, limits, law, card = st.tabs(
        ["What the numbers mean", "Limits", "Law and licences", "Model card"]
    )
    with reading:
        st.markdown(READING)
    with limits:
        st.markdown(LIMITS)
        st.caption("Measured figures and where they come from are in the model card.")
    with law:
        st.markdown(LAW)
    with card:
        st.markdown(_card())


@cache
def _card() -> str:
    """The card of the live checkpoint, one level of headings down; a line where there is none."""
    if not CARD.is_file():
        return "There is no model card beside the live checkpoint: the network may be untrained."
    lines = CARD.read_text(encoding="utf-8").splitlines()
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in lines)

"""Encoders of text: words to the states of their tokens.

Lives here: gte-small as it runs live (``encoder``), any BERT or RoBERTa, frozen or tuned
(``tunable``, ``hub``), the contract that all fulfil (``states``), and what is kept on disk of their
answers.
May import: ``features``.
"""

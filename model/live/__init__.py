"""How the shipped checkpoint comes about: trained, judged, and put into its place.

Lives here: the tuning of its text layers (``text_tuning``, ``teaching``, ``text_mean``), training windows made as live ones are,
the stages of the training (``warmup``, ``training``, ``folds``), the judging, the model card.
May import: ``features``, ``model.corpora``, ``model.networks``, ``model.text``, ``model.research``,
the live product in ``model`` itself, and the modules that any room of ``model`` may use.
"""

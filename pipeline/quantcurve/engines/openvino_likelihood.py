"""Likelihoods of continuations by OpenVINO: contexts in one pass, their continuations, which go on from the contexts'
rows, in the next; runs in a child process (see child.py)."""

from __future__ import annotations

from quantcurve import likelihood
from quantcurve.engines.openvino_child import current
from quantcurve.engines.openvino_rows import Rows
from quantcurve.engines.tally import Tally
from quantcurve.likelihood import Batch, Likelihood


def log_likelihoods(batch: Batch) -> list[Likelihood]:
    """Of a batch's continuations, question by question; see base.LoadedModel.log_likelihoods.

    Raises:
        RecipeError: a pair is too long, or empty.
        BackendError: OpenVINO failed, or its logits are not finite.
    """
    model, pairs = current(), batch.pairs
    likelihood.check(pairs, model.config.window_tokens, model.vocabulary)
    rows, tally = Rows(model), Tally(pairs, model.path)
    contexts = [question.context for question in batch.questions]
    ends = rows.begin([context[batch.shared :] for context in contexts], contexts[0][: batch.shared])
    origins = [row for row, question in enumerate(batch.questions) for _ in question.continuations]
    for row, logits in enumerate(ends):
        places = [place for place, origin in enumerate(origins) if origin == row]
        tally.add(logits, [(place, int(pairs[place].continuation[0])) for place in places])
    longer = [place for place, pair in enumerate(pairs) if len(pair.continuation) > 1]
    if longer:
        parts = [pairs[place].continuation[:-1] for place in longer]
        found = rows.go_on(parts, [origins[place] for place in longer])
        for place, table in zip(longer, found, strict=True):
            for logits, target in zip(table, pairs[place].continuation[1:], strict=False):
                tally.add(logits, [(place, int(target))])
    return tally.found()

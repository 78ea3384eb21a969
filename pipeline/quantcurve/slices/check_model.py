"""A language model as the user's functions see it (validation.LanguageModel), over one that answers requests: the
function runs here, the model in its child, and what it was asked is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

from quantcurve.engines.base import Tokens, TokenScores
from quantcurve.engines.text_side import TextSide
from quantcurve.errors import RecipeError
from quantcurve.generation import Request
from quantcurve.likelihood import Likelihood, Pair
from quantcurve.task_model import TaskModel
from quantcurve.validation import Item, LanguageModel
from quantcurve.validation_requests import encoded_pairs, encoded_prompts, stop_strings


class CheckSettings(NamedTuple):
    """What is the same on all models."""

    text: TextSide
    """The reference's tokenizer and chat template."""
    ends: tuple[int, ...]
    """Tokens that end answers: the reference's."""
    context_tokens: int


class CheckModel(LanguageModel):
    """A model that a check is given."""

    def __init__(self, model: TaskModel, settings: CheckSettings, moved: Callable[[int], object] = int) -> None:
        """Nothing is opened yet.

        Args:
            model: that is asked.
            settings: of all models.
            moved: is called with the number of answers or likelihoods that have come.
        """
        self._model, self._settings, self._moved = model, settings, moved

    @property
    def context_tokens(self) -> int:
        """Longest sequence that it takes: the recipe's evaluate.context_tokens."""
        return self._settings.context_tokens

    def score(self, items: Sequence[Item]) -> list[TokenScores]:
        """Of windows, which a check has none of.

        Raises:
            RecipeError: always.
        """
        self._refuse("score")

    def reference_top1(self, items: Sequence[Item]) -> list[Tokens]:
        """Of windows; errors as `score`."""
        self._refuse("reference_top1")

    def log_likelihood(self, pairs: Sequence[tuple[str, str]]) -> list[Likelihood]:
        """See LanguageModel.log_likelihood."""
        encoded = encoded_pairs(self._settings.text, pairs, self.context_tokens)
        return self._model.likelihoods([Pair(p.ids[: p.begin], p.ids[p.begin :]) for p in encoded], self._moved)

    def generate(self, prompts: Sequence[str], max_tokens: int = 64, stop: Sequence[str] = ()) -> list[str]:
        """See LanguageModel.generate."""
        ends, stops = self._settings.ends, stop_strings(stop)
        encoded = encoded_prompts(self._settings.text, prompts, max_tokens, self.context_tokens)
        requests = [Request(ids, max_tokens, ends, stops) for ids in encoded]
        return [answer.text for answer in self._model.answers(requests, self._moved)]

    def chat(self, messages: Sequence[Mapping[str, str]]) -> str:
        """See LanguageModel.chat; the reference's template, on every model."""
        return self._settings.text.chat(messages)

    def _refuse(self, what: str) -> NoReturn:
        raise RecipeError(
            f"{what} is of windows of a text and of the reference's logits, which a check of the scorecard does not "
            "have: it has records; ask log_likelihood of a text after a prompt, or generate, or judge windows in "
            "accuracy_control"
        )

"""What a validation finds too long, told by who knows which item it is."""

from __future__ import annotations

from quantcurve.errors import RecipeError
from quantcurve.validation import Item


class SequenceTooLongError(RecipeError):
    """A sequence that does not fit into the context; `of` says whose it is."""

    def __init__(self, what: str, index: int, tokens: int, context_tokens: int) -> None:
        """Keep the facts.

        Args:
            what: a prompt, a pair.
            index: among those of the call.
            tokens: that it takes.
            context_tokens: that there are.
        """
        super().__init__(what, index, tokens, context_tokens)
        self.what, self.index, self.tokens, self.context_tokens = what, index, tokens, context_tokens

    def __str__(self) -> str:
        return f"{self.what} {self.index}: {too_long(self.tokens, self.context_tokens)}"

    def of(self, item: Item) -> RecipeError:
        """The same, with the item's name."""
        return RecipeError(f"{named(item)}: {self.what}: {too_long(self.tokens, self.context_tokens)}")


def named(item: Item) -> str:
    """An item in messages."""
    return f"item {item.number} ({item.source})"


def too_long(tokens: int, context_tokens: int) -> str:
    """The fault and what mends it."""
    return (
        f"{tokens:,} tokens, and the context is {context_tokens:,}; shorten it, leave it out, or give a smaller "
        "item_tokens or max_tokens"
    )

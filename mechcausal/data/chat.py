"""Chats as text, by the tokenizer's own template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from mechcausal.arguments import Kind, described
from mechcausal.data.tokens import tokenizer_of
from mechcausal.errors import DataError

Message = Mapping[str, str]


def _is_chat(value: Any) -> bool:  # noqa: ANN401
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, (list, tuple)) and bool(value) and all(_is_message(message) for message in value)


def _is_message(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, Mapping) and all(isinstance(value.get(name), str) for name in ("role", "content"))


Chats = Annotated[
    Sequence[str | Sequence[Message]],
    Kind(
        'a list of chats: each a text of the user, or a list of {"role": ..., "content": ...}',
        lambda value: isinstance(value, (list, tuple)) and bool(value) and all(map(_is_chat, value)),
        "give a list, of one chat too",
    ),
]


class AsWritten:
    """A reader whose tokenizer adds no special tokens: a template has written those that it wants.

    Args:
        model: The model, or anything with a tokenizer.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        self.tokenizer = _Tokenizer(tokenizer_of(model))


class _Tokenizer:
    def __init__(self, tokenizer: Any) -> None:  # noqa: ANN401
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._tokenizer, name)

    def __call__(self, text: str, **options: Any) -> Any:  # noqa: ANN401
        return self._tokenizer(text, **{"add_special_tokens": False} | options)


def written_out(model: Any, chats: Chats, *, system: str | None = None, reply: str = "") -> tuple[list[str], bool]:  # noqa: ANN401
    """Return chats as the model was trained to read them, up to where it answers, and whether they begin with its BOS token.

    Args:
        model: The model whose tokenizer has the template.
        chats: Each a text of the user, or its messages.
        system: A message of the system that comes first.
        reply: How the answer begins.
    """
    tokenizer = tokenizer_of(model)
    if not getattr(tokenizer, "chat_template", None):
        raise DataError(
            "the tokenizer of this model has no chat template",
            fix="write the prompt out and use PromptSet.from_text, or load a model that was tuned to chat",
        )
    first = [] if system is None else [{"role": "system", "content": system}]
    texts = []
    for number, chat in enumerate(chats):
        messages = [{"role": "user", "content": chat}] if isinstance(chat, str) else [dict(part) for part in chat]
        try:
            text = tokenizer.apply_chat_template([*first, *messages], tokenize=False, add_generation_prompt=True)
        except (ImportError, ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
            raise _refused(number, chat, error) from error
        except Exception as error:
            if type(error).__module__.partition(".")[0] != "jinja2":
                raise
            raise _refused(number, chat, error) from error
        texts.append(text + reply)
    begin = getattr(tokenizer, "bos_token", None)
    return texts, begin is not None and all(text.startswith(begin) for text in texts)


def _refused(number: int, chat: Any, error: Exception) -> DataError:  # noqa: ANN401
    return DataError(
        f"the chat template refuses chat {number}: {str(error)[:120]}", got=described(chat),
        fix="give the roles that the template knows, such as user and assistant in turn",
    )  # fmt: skip

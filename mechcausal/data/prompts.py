"""A set of prompts as the model sees them: tokens, mask, positions, and what each prompt is for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import compress
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from mechcausal.address import Selection
from mechcausal.arguments import Column, Reader, Texts, checked
from mechcausal.data.chat import AsWritten, Chats, written_out
from mechcausal.data.checking import check_answers, check_columns, rows_of
from mechcausal.data.devices import device_called
from mechcausal.data.padding import Side as Side
from mechcausal.data.padding import laid_out, read_position
from mechcausal.data.padding import pad as pad
from mechcausal.data.targets import Words, each_of, for_each, targets
from mechcausal.data.tokens import encode_all, span_of, tokenizer_of, wants_bos
from mechcausal.errors import ArgumentError, DataError, SiteError, did_you_mean

_HASHED_AS = {"read_at": "read"}  # its name when hashes were first written down
_LATER = ("answers", "foils", "spans", "aligned", "forced")  # left out of the hash where there is nothing


@dataclass(frozen=True, eq=False)
class PromptSet:
    """Prompts with labels and groups. Positions count the real tokens, so padding never changes their meaning.

    Attributes:
        tokens: Token ids, padded on `side`.
        mask: True at real tokens.
        side: The padded side.
        texts: The prompts as text; empty where they were given as tokens.
        answer: The token whose logit the metrics follow, one per prompt.
        foil: The token it is compared with.
        answers: Instead of `answer`, where answers are several tokens or a set of texts that are equally right: the tokens
            of each member, filled up with -1.
        foils: The same of the foil.
        read_at: The position whose logits the metrics read; the last real token unless said otherwise.
        labels: What is true of each prompt, in words or numbers.
        groups: The group of each prompt, for group-wise numbers.
        environments: The environment each prompt was drawn from.
        clusters: The unit of independence (template, entity); confidence intervals are clustered by it.
        positions: Named positions: for each name one index per prompt.
        variables: The variables of a causal model: for each name one value (or one row of values) per prompt.
        spans: Named positions that stand for several tokens each: for each name the first and the one behind the last.
        aligned: For each token of a prompt the position it counts as, where positions are those that a prompt shares
            with its counterpart; -1 for a token without one. Without it token i is position i.
        forced: How many tokens at the end of each prompt belong to its answer; they have no position.
        pieces: The text that each token stands for, where prompts were given as text; it names positions in figures.
        given: What was said of each prompt in words: its answer, its foil, its places, and columns of your own.
    """

    tokens: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    side: Side = "right"
    texts: tuple[str, ...] = ()
    answer: Int[Tensor, " batch"] | None = None
    foil: Int[Tensor, " batch"] | None = None
    answers: Int[Tensor, "batch member token"] | None = None
    foils: Int[Tensor, "batch other_member other_token"] | None = None
    read_at: Int[Tensor, " batch"] | None = None
    labels: tuple[Any, ...] = ()
    groups: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    positions: dict[str, Int[Tensor, " batch"]] = field(default_factory=dict)
    variables: dict[str, Tensor] = field(default_factory=dict)
    spans: dict[str, Int[Tensor, "batch 2"]] = field(default_factory=dict)
    aligned: tuple[tuple[int, ...], ...] = ()
    forced: Int[Tensor, " batch"] | None = None
    pieces: tuple[tuple[str, ...], ...] = ()
    given: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_columns(self)

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self.tokens)

    def __repr__(self) -> str:
        """Say how many prompts there are, how long they are and what is known of them."""
        shortest, longest = int(self.lengths.min()), int(self.lengths.max())
        length = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
        names = f", positions {sorted(self.positions)}" if self.positions else ""
        names += f", variables {sorted(self.variables)}" if self.variables else ""
        return f"PromptSet({len(self)} prompts of {length} tokens, {self.n_clusters} clusters{names})"

    @classmethod
    @checked
    def from_text(
        cls,
        model: Reader,
        texts: Texts,
        *,
        answer: Words | None = None,
        foil: Words | None = None,
        positions: Mapping[str, Sequence[Any] | str | int] | None = None,
        labels: Column = (),
        groups: Column = (),
        environments: Column = (),
        clusters: Column = (),
        variables: Mapping[str, Any] | None = None,
        side: Side = "right",
        bos: bool | None = None,
    ) -> PromptSet:
        """Tokenize prompts.

        Args:
            model: The model whose tokenizer reads them.
            texts: The prompts.
            answer: The text each calls for: one for all, or a list with one for each. A set of texts, or in a list a list
                of texts, are equally right. Where one is several tokens, its probability is that of all of them.
            foil: What it is compared with.
            positions: Named positions: a substring or a word number for all, or a list with a substring, a word number
                or a character span for each.
            labels: What is true of each prompt.
            groups: The group of each prompt.
            environments: The environment of each prompt.
            clusters: The unit of independence; intervals are clustered by it.
            variables: For each variable of a causal model its value for each prompt.
            side: The side to pad on.
            bos: Whether a BOS token leads; None follows the model's own convention.
        """
        if not texts:
            raise DataError("the set of prompts is empty", fix="give at least one prompt")
        tokenizer, wanted = tokenizer_of(model), {"answer": answer, "foil": foil}
        bos = wants_bos(model) if bos is None else bos
        read = encode_all(tokenizer, texts, bos=bos)
        rows = [ids for ids, _ in read]
        places = {
            word: [span_of(read[i][1], texts[i], place) for i, place in enumerate(for_each(value, len(texts), word))]
            for word, value in (positions or {}).items()
        }
        given = {
            **{
                f"position.{word}": tuple(for_each(value, len(texts), word))
                for word, value in (positions or {}).items()
            },
            **{what: tuple(each_of(words, len(texts), what)) for what, words in wanted.items() if words is not None},
        }
        made = cls(
            *pad(rows, side=side),
            side=side,
            texts=tuple(texts),
            **targets(tokenizer, len(texts), **wanted),
            read_at=read_position(tokenizer, rows),
            labels=_entries(labels),
            groups=_entries(groups),
            environments=_entries(environments),
            clusters=_entries(clusters),
            positions={word: torch.tensor([end - 1 for _, end in spans]) for word, spans in places.items()},
            pieces=tuple(
                tuple(text[begin:end] for begin, end in spans) for text, (_, spans) in zip(texts, read, strict=True)
            ),
            given=given,
            variables={name: torch.as_tensor(value) for name, value in (variables or {}).items()},
        )
        check_answers(made)
        return made

    @classmethod
    @checked
    def read(
        cls,
        source: Any,  # noqa: ANN401 - a file, a data frame, a data set
        model: Reader,
        *,
        unfit: Literal["refuse", "drop"] = "refuse",
        side: Side = "right",
        bos: bool | None = None,
    ) -> PromptSet:
        """Read prompts of your own: a column `text`, and the columns that `Contrast.read` takes besides its prompts.

        Args:
            source: A file (.jsonl, .json, .csv, .tsv, .parquet; .txt with one prompt a line), a pandas frame, a
                `datasets.Dataset` or a list of mappings.
            model: The model whose tokenizer reads them.
            unfit: Whether a prompt that the tokenizer cannot take is refused or dropped.
            side: The side to pad on.
            bos: Whether a BOS token leads; None follows the model's own convention.

        Example:
            >>> import mechcausal as mc
            >>> len(mc.PromptSet.read([{"text": "he high ask", "label": "high"}], mc.load("organism:by_hand")))
            1
        """
        from mechcausal.data.making import read_prompts

        return read_prompts(source, model, unfit=unfit, side=side, bos=bos)

    @checked
    def write(self, path: str | Path) -> Path:
        """Write the prompts to a file (.jsonl, .json, .csv, .tsv, .parquet) that `read` reads back as the same prompts.

        Args:
            path: The file.
        """
        from mechcausal.data.writing import write_prompts

        return write_prompts(self, Path(path))

    @classmethod
    @checked
    def from_chat(
        cls,
        model: Reader,
        chats: Chats,
        *,
        system: str | None = None,
        reply: str = "",
        **options: Any,  # noqa: ANN401 - those of `from_text`
    ) -> PromptSet:
        """Tokenize chats as the tokenizer's own template writes them, up to where the model answers.

        Args:
            model: The model whose tokenizer has the template.
            chats: Each a text of the user, or a list of `{"role": ..., "content": ...}`.
            system: A message of the system that comes first.
            reply: How the answer begins; an answer token follows it.
            **options: The options of `from_text`.
        """
        if "bos" in options:
            raise DataError("the chat template decides about the BOS token", fix="leave out bos=")
        texts, begins = written_out(model, chats, system=system, reply=reply)
        return cls.from_text(AsWritten(model), texts, bos=begins, **options)

    @property
    def lengths(self) -> Int[Tensor, " batch"]:
        """The number of real tokens of each prompt."""
        return self.mask.sum(dim=1)

    @property
    def own_lengths(self) -> Int[Tensor, " batch"]:
        """The number of tokens of each prompt without those of an answer."""
        return self.lengths if self.forced is None else self.lengths - self.forced

    @property
    def n_positions(self) -> Int[Tensor, " batch"]:
        """How many positions each prompt has: one for each token, unless they are those that a pair shares."""
        if not self.aligned:
            return self.own_lengths
        counts = torch.tensor([max(row) + 1 for row in self.aligned], device=self.mask.device)
        return counts if self.forced is None else counts - self.forced

    @property
    def _tokens(self) -> Tensor:
        """[batch pos] which token of its prompt stands in each column, counted on over padding."""
        return torch.arange(self.tokens.shape[1])[None] - self.starts.cpu()[:, None]

    @property
    def numbers(self) -> Int[Tensor, "batch pos"]:
        """The position that each column is; -1 for padding, and for a token that has no position."""
        number = laid_out(self.aligned, self._tokens) if self.aligned else self._tokens
        return torch.where(self.mask.cpu(), number, -1).to(self.mask.device)

    @property
    def unaligned(self) -> PromptSet:
        """The same prompts with a position for each token."""
        return replace(self, aligned=()) if self.aligned else self

    @property
    def n_clusters(self) -> int:
        """How many independent units there are."""
        return len(set(self.clusters)) if self.clusters else len(self)

    @property
    def starts(self) -> Int[Tensor, " batch"]:
        """The column at which each prompt's first real token stands."""
        return self.mask.long().argmax(dim=1)

    @property
    def read_columns(self) -> Int[Tensor, " batch"]:
        """The column whose logits the metrics read."""
        return self.starts + (self.own_lengths - 1 if self.read_at is None else self.read_at)

    @property
    def real_tokens(self) -> list[list[int]]:
        """The token ids without padding."""
        return [list(compress(*row)) for row in zip(self.tokens.tolist(), self.mask.tolist(), strict=True)]

    def real_tokens_of(self, row: int) -> list[int]:
        """Return the token ids of one prompt without padding."""
        return self.tokens[row][self.mask[row]].tolist()

    def select(self, selection: str | int | Selection | None) -> Bool[Tensor, "batch pos"]:
        """Return the mask of the selected positions; a prompt too short for an index has none."""
        selection = Selection.parse(selection)
        if selection.name is not None:
            if selection.name not in self.positions:
                raise SiteError(
                    f"these prompts have no position called {selection.name!r}",
                    fix=did_you_mean(selection.name, sorted(self.positions) or ["@-1", "@all"]),
                )
            first = self.positions[selection.name].cpu()
            bounds = torch.stack([first, first + 1], dim=1)
            bounds = self.spans[selection.name].cpu() if selection.name in self.spans else bounds
        else:
            counts = self.n_positions.tolist()
            by_value = {count: selection.bounds(count) for count in set(counts)}
            bounds = torch.tensor([by_value[count] for count in counts])
        number = self._tokens if selection.name is not None else self.numbers.cpu()
        if selection.start is None and selection.name is None:  # everything, tokens of an answer too
            bounds[:, 1] = self.tokens.shape[1]
        low, high = bounds.split(1, dim=1)
        return ((number >= low) & (number < high)).to(self.mask.device) & self.mask

    def take(self, rows: Sequence[int] | slice | Tensor) -> PromptSet:
        """Return the prompts at `rows`, in that order, or where a boolean mask is true."""
        index = rows_of(rows, len(self))

        def pick(value: Any) -> Any:  # noqa: ANN401 - one of the field types
            match value:
                case Tensor():
                    return value[index.to(value.device)]
                case dict():
                    return {name: pick(column) for name, column in value.items()}
                case tuple():
                    return tuple(value[i] for i in index.tolist()) if value else ()
            return value

        return replace(self, **{part.name: pick(getattr(self, part.name)) for part in fields(self)})

    def padded(self, width: int, side: Side | None = None) -> PromptSet:
        """Return the same prompts padded to `width` columns on `side`; padding tokens copy a real one."""
        side = self.side if side is None else side
        if isinstance(width, int) and isinstance(side, str) and (width, side) == (self.tokens.shape[1], self.side):
            return self
        tokens, mask = pad(self.real_tokens, width=width, side=side)
        return replace(self, tokens=tokens.to(self.tokens.device), mask=mask.to(self.mask.device), side=side)

    def to(self, device: torch.device | str) -> PromptSet:
        """Return the same prompts on another device."""
        place = device_called(device, "PromptSet.to")
        if place is None:
            raise ArgumentError("PromptSet.to cannot take this 'device'", got="None", fix='device="cpu"')

        def move(value: Any) -> Any:  # noqa: ANN401 - one of the field types
            if isinstance(value, dict):
                return {name: move(column) for name, column in value.items()}
            return value.to(place) if isinstance(value, Tensor) else value

        return replace(self, **{part.name: move(getattr(self, part.name)) for part in fields(self)})

    @property
    def hash(self) -> str:
        """A digest of everything but the padding: equal prompts in equal order have equal hashes."""
        digest = hashlib.sha256()
        for part in fields(self):
            value = getattr(self, part.name)
            nothing = part.name in _LATER and (value is None or not len(value))
            if part.name in ("tokens", "mask", "side", "given", "pieces") or nothing:
                continue
            plain = {k: v.tolist() for k, v in sorted(value.items())} if isinstance(value, dict) else value
            digest.update(
                f"{_HASHED_AS.get(part.name, part.name)}={plain.tolist() if isinstance(plain, Tensor) else plain!r};".encode()
            )
        digest.update(repr(self.real_tokens).encode())
        return digest.hexdigest()[:16]


def _entries(column: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a list, an array, a series or a tensor
    """Return a column as plain values, so that equal ones are equal whatever they came in."""
    return tuple(column.tolist() if hasattr(column, "tolist") else column)

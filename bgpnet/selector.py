"""Selectors over labels, in Calico's grammar: `role == "edge" && has(rack)`. Pure.

    or      = and { "||" and }                       loosest
    and     = not { "&&" not }
    not     = { "!" } term                           tightest
    term    = "(" or ")" | "all()" | "global()" | "has(" label ")" | label test
    test    = ( "==" | "!=" | "contains" | "starts with" | "ends with" ) string | [ "not" ] "in" set
    set     = "{" [ string { "," string } [ "," ] ] "}"

Strings stand in ' or ", without escapes; labels are of A-Z a-z 0-9 _ . / - and at most 512 long; blanks are spaces and
tabs. An empty selector is `all()`. Source: libcalico-go/lib/selector (tokenizer, parser).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

Labels = Mapping[str, str]

_LABEL = re.compile(r"[A-Za-z0-9_./-]+")
_LABEL_LIMIT = 512
_DEPTH_LIMIT = 64
"""Parentheses in parentheses: more are a mistake, and would exhaust the stack."""


class Expression(Protocol):
    """A node of the syntax tree; its `str` is canonical."""

    def matches(self, labels: Labels) -> bool:
        """Whether it is true of these labels."""


@dataclass(frozen=True, slots=True)
class All:
    """Always true."""

    def matches(self, labels: Labels) -> bool:
        return True

    def __str__(self) -> str:
        return "all()"


@dataclass(frozen=True, slots=True)
class Global:
    """True of what has no namespace; only policies may say so, the others' rules refuse it (`mentions_global`)."""

    def matches(self, labels: Labels) -> bool:
        return True

    def __str__(self) -> str:
        return "global()"


@dataclass(frozen=True, slots=True)
class Has:
    """The label is present."""

    label: str

    def matches(self, labels: Labels) -> bool:
        return self.label in labels

    def __str__(self) -> str:
        return f"has({self.label})"


class Operator(StrEnum):
    """What compares a label's value with a string."""

    EQUAL = "=="
    UNEQUAL = "!="
    CONTAINS = "contains"
    STARTS_WITH = "starts with"
    ENDS_WITH = "ends with"


_TESTS: dict[Operator, Callable[[str, str], bool]] = {
    Operator.EQUAL: str.__eq__,
    Operator.UNEQUAL: str.__ne__,
    Operator.CONTAINS: str.__contains__,
    Operator.STARTS_WITH: str.startswith,
    Operator.ENDS_WITH: str.endswith,
}


@dataclass(frozen=True, slots=True)
class Compare:
    """A label against a string; where the label is absent, only `!=` is true."""

    label: str
    operator: Operator
    value: str

    def matches(self, labels: Labels) -> bool:
        if (value := labels.get(self.label)) is None:
            return self.operator is Operator.UNEQUAL
        return _TESTS[self.operator](value, self.value)

    def __str__(self) -> str:
        return f"{self.label} {self.operator} {_quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class In:
    """A label's value in a set (sorted, each once), or not in it; where the label is absent, only `not in` is true."""

    label: str
    values: tuple[str, ...]
    negated: bool

    def matches(self, labels: Labels) -> bool:
        return (labels.get(self.label) in self.values) is not self.negated

    def __str__(self) -> str:
        word = "not in" if self.negated else "in"
        return f"{self.label} {word} {{{', '.join(map(_quoted, self.values))}}}"


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    operand: Expression

    def matches(self, labels: Labels) -> bool:
        return not self.operand.matches(labels)

    def __str__(self) -> str:
        return f"!{self.operand}"


@dataclass(frozen=True, slots=True)
class And:
    """All of two or more."""

    operands: tuple[Expression, ...]

    def matches(self, labels: Labels) -> bool:
        return all(operand.matches(labels) for operand in self.operands)

    def __str__(self) -> str:
        return f"({' && '.join(map(str, self.operands))})"


@dataclass(frozen=True, slots=True)
class Or:
    """Any of two or more."""

    operands: tuple[Expression, ...]

    def matches(self, labels: Labels) -> bool:
        return any(operand.matches(labels) for operand in self.operands)

    def __str__(self) -> str:
        return f"({' || '.join(map(str, self.operands))})"


@dataclass(frozen=True, slots=True)
class Selector:
    """A parsed selector; two are equal when their canonical texts are."""

    text: str
    root: Expression = field(compare=False, repr=False)
    mentions_global: bool = field(compare=False, repr=False)

    def matches(self, labels: Labels) -> bool:
        """Whether it selects what has these labels."""
        return self.root.matches(labels)

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=4096)
def parse(text: str) -> Selector:
    """The selector; raises ValueError with what was expected where (columns count from 1)."""
    parser = _Parser(text)
    root = parser.whole()
    return Selector(str(root), root, parser.mentions_global)


def _quoted(value: str) -> str:
    """In " unless it contains one; a string read from a selector never contains both."""
    return f"'{value}'" if '"' in value else f'"{value}"'


class _Parser:
    """Recursive descent, straight over the text: which words are operators depends on what stands before them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0
        self.mentions_global = False

    def whole(self) -> Expression:
        if self._ended():
            return All()
        found = self._or()
        if not self._ended():
            raise self._wrong("&& or || or the end")
        return found

    def _or(self) -> Expression:
        operands = [self._and()]
        while self._take("||"):
            operands.append(self._and())
        return operands[0] if len(operands) == 1 else Or(tuple(operands))

    def _and(self) -> Expression:
        operands = [self._not()]
        while self._take("&&"):
            operands.append(self._not())
        return operands[0] if len(operands) == 1 else And(tuple(operands))

    def _not(self) -> Expression:
        negated = False
        while self._take("!"):
            negated = not negated
        term = self._term()
        return Not(term) if negated else term

    def _term(self) -> Expression:
        if self._take("("):
            return self._group()
        if self._take("has("):
            label = self._label("a label's name")
            self._need(")")
            return Has(label)
        if self._take("all("):
            self._need(")")
            return All()
        if self._take("global("):
            self._need(")")
            self.mentions_global = True
            return Global()
        return self._test(self._label("a label's name, has(…), all(), ! or ("))

    def _group(self) -> Expression:
        self._depth += 1
        if self._depth > _DEPTH_LIMIT:
            raise self._wrong(f"at most {_DEPTH_LIMIT} parentheses in one another")
        found = self._or()
        self._need(")")
        self._depth -= 1
        return found

    def _test(self, label: str) -> Expression:
        for operator in Operator:
            if self._take(*operator.split()):
                return Compare(label, operator, self._string())
        negated = self._take("not", "in")
        if negated or self._take("in"):
            return In(label, self._set(), negated)
        raise self._wrong(f"==, !=, in, not in, contains, starts with or ends with after label {label}")

    def _set(self) -> tuple[str, ...]:
        self._need("{")
        values: set[str] = set()
        while not self._take("}"):
            values.add(self._string())
            if not self._take(","):
                self._need("}")
                break
        return tuple(sorted(values))

    def _string(self) -> str:
        self._skip()
        quote = self._text[self._at : self._at + 1]
        if quote not in ("'", '"'):
            raise self._wrong("a string in quotes")
        end = self._text.find(quote, self._at + 1)
        if end < 0:
            raise self._wrong(f"a closing {quote} for this one")
        value = self._text[self._at + 1 : end]
        self._at = end + 1
        return value

    def _label(self, expected: str) -> str:
        self._skip()
        found = _LABEL.match(self._text, self._at)
        if found is None:
            raise self._wrong(expected)
        if len(found[0]) > _LABEL_LIMIT:
            raise self._wrong(f"a label's name of at most {_LABEL_LIMIT} characters")
        self._at = found.end()
        return found[0]

    def _take(self, *words: str) -> bool:
        """Step over these words, blanks or none between them, if they come next."""
        before = self._at
        for word in words:
            self._skip()
            if not self._text.startswith(word, self._at):
                self._at = before
                return False
            self._at += len(word)
        return True

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise self._wrong(word)

    def _skip(self) -> None:
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1

    def _ended(self) -> bool:
        self._skip()
        return self._at == len(self._text)

    def _wrong(self, expected: str) -> ValueError:
        self._skip()
        rest = self._text[self._at : self._at + 12]
        found = repr(rest) if rest else "the end"
        return ValueError(f"at column {self._at + 1}: expected {expected}, found {found}")

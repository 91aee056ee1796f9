"""Selectors: what each form selects, how tightly operators bind, how they are written back, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bgpnet import selector
from bgpnet.selector import All, And, Compare, Expression, Global, Has, In, Labels, Not, Operator, Or

EDGE: Labels = {"role": "edge", "rack": "r1", "empty": "", "app.kubernetes.io/name": "web-1", "in": "x", "all": "y"}

CASES = [
    ("", True),
    (" \t ", True),
    ("all()", True),
    ("all( )", True),
    ("!all()", False),
    ("global()", True),
    ("has(role)", True),
    ("has( role\t)", True),
    ("has(none)", False),
    ("has(empty)", True),
    ("!has(role)", False),
    ("!has(none)", True),
    ("! has(none)", True),
    ("!!has(role)", True),
    ("!!!has(role)", False),
    ("role == 'edge'", True),
    ('role == "edge"', True),
    ("role=='edge'", True),
    ("role == 'Edge'", False),
    ("none == 'edge'", False),
    ("none == ''", False),
    ("empty == ''", True),
    ("role != 'core'", True),
    ("role != 'edge'", False),
    ("none != 'edge'", True),
    ("empty != ''", False),
    ("role in {'edge', 'core'}", True),
    ("role in {'core'}", False),
    ("role in {'core','edge',}", True),
    ("role in{'edge'}", True),
    ("role in {}", False),
    ("none in {''}", False),
    ("none in {'edge'}", False),
    ("role not in {'core'}", True),
    ("role not in {'edge'}", False),
    ("role not\tin {'edge'}", False),
    ("role notin {'core'}", True),
    ("role not in {}", True),
    ("none not in {'edge'}", True),
    ("role contains 'dg'", True),
    ("role contains ''", True),
    ("role contains 'x'", False),
    ("none contains ''", False),
    ("role starts with 'ed'", True),
    ("role starts with 'dg'", False),
    ("role startswith 'ed'", True),
    ("none starts with ''", False),
    ("role ends with 'ge'", True),
    ("role ends with 'ed'", False),
    ("role ends  with'ge'", True),
    ("none ends with ''", False),
    ("app.kubernetes.io/name == 'web-1'", True),
    ("has(app.kubernetes.io/name)", True),
    ("in == 'x'", True),
    ("in in {'x'}", True),
    ("all == 'y'", True),
    ("has(all)", True),
    ("role == 'edge' && rack == 'r1'", True),
    ("role == 'edge' && rack == 'r2'", False),
    ("role == 'core' || rack == 'r1'", True),
    ("role == 'core' || rack == 'r2'", False),
    ("all() || all() && !all()", True),
    ("(all() || all()) && !all()", False),
    ("!all() && all() || all()", True),
    ("!all() && (all() || all())", False),
    ("!all() || all()", True),
    ("!(all() || all())", False),
    ("!role == 'core'", True),
    ("!(role == 'edge' && rack == 'r2')", True),
    ("has(role)&&has(rack)&&!has(none)", True),
    ("((((role == 'edge'))))", True),
    ("(role == 'edge' || has(none)) && (rack in {'r1'} || has(none))", True),
]


@pytest.mark.parametrize(("text", "selected"), CASES)
def test_what_a_selector_selects(text: str, selected: bool) -> None:
    assert selector.parse(text).matches(EDGE) is selected


CANONICAL = [
    ("", "all()"),
    ("a=='x'", 'a == "x"'),
    ("a == 'it\"s'", "a == 'it\"s'"),
    ('a == "it\'s"', 'a == "it\'s"'),
    ("a in {'z','b','z',}", 'a in {"b", "z"}'),
    ("a notin {}", "a not in {}"),
    ("a startswith'x'", 'a starts with "x"'),
    ("has( a )", "has(a)"),
    ("!!a == 'x'", 'a == "x"'),
    ("!!!a == 'x'", '!a == "x"'),
    ("has(a)&&has(b)||has(c)", "((has(a) && has(b)) || has(c))"),
    ("has(a)&&(has(b)||has(c))", "(has(a) && (has(b) || has(c)))"),
    ("((has(a)))", "has(a)"),
    ("!(has(a))", "!has(a)"),
    ("global( )", "global()"),
]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_the_canonical_text(text: str, canonical: str) -> None:
    parsed = selector.parse(text)
    assert str(parsed) == canonical
    assert parsed == selector.parse(canonical)
    assert hash(parsed) == hash(selector.parse(canonical))


def test_selectors_that_say_another_thing_are_not_equal() -> None:
    assert selector.parse("has(a)") != selector.parse("has(b)")


def test_global_is_noticed_only_where_it_is_meant() -> None:
    assert selector.parse("has(a) || !(global())").mentions_global
    assert not selector.parse("a == 'global()'").mentions_global
    assert not selector.parse("has(global)").mentions_global


LABEL_TEST = "==, !=, in, not in, contains, starts with or ends with after label"
TERM = "a label's name, has(…), all(), ! or ("
WRONG = [
    ("a", f"at column 2: expected {LABEL_TEST} a, found the end"),
    ("a = 'x'", f"at column 3: expected {LABEL_TEST} a, found \"= 'x'\""),
    ("a not 'x'", f"at column 3: expected {LABEL_TEST} a, found \"not 'x'\""),
    ("a starts 'x'", f"at column 3: expected {LABEL_TEST} a, found \"starts 'x'\""),
    ("a ==", "at column 5: expected a string in quotes, found the end"),
    ("a == x", "at column 6: expected a string in quotes, found 'x'"),
    ("a == 'x", "at column 6: expected a closing ' for this one, found \"'x\""),
    ("a == 'x' 'y'", "at column 10: expected && or || or the end, found \"'y'\""),
    ("a == 'x' & b == 'y'", "at column 10: expected && or || or the end, found \"& b == 'y'\""),
    ("a in 'x'", "at column 6: expected {, found \"'x'\""),
    ("a in {'x'", "at column 10: expected }, found the end"),
    ("a in {'x' 'y'}", "at column 11: expected }, found \"'y'}\""),
    ("a in {,}", "at column 7: expected a string in quotes, found ',}'"),
    ("a in {x}", "at column 7: expected a string in quotes, found 'x}'"),
    ("(all()", "at column 7: expected ), found the end"),
    ("all())", "at column 6: expected && or || or the end, found ')'"),
    ("all(x)", "at column 5: expected ), found 'x)'"),
    ("global(", "at column 8: expected ), found the end"),
    ("has()", "at column 5: expected a label's name, found ')'"),
    ("has(a b)", "at column 7: expected ), found 'b)'"),
    ("has (a)", f"at column 5: expected {LABEL_TEST} has, found '(a)'"),
    ("all() &&", f"at column 9: expected {TERM}, found the end"),
    ("|| all()", f"at column 1: expected {TERM}, found '|| all()'"),
    ("!", f"at column 2: expected {TERM}, found the end"),
    ("()", f"at column 2: expected {TERM}, found ')'"),
    ("== 'x'", f"at column 1: expected {TERM}, found \"== 'x'\""),
    ("a == 'x'\n", "at column 9: expected && or || or the end, found '\\n'"),
    ("ä == 'x'", f"at column 1: expected {TERM}, found \"ä == 'x'\""),
    ("a" * 513 + " == 'x'", "at column 1: expected a label's name of at most 512 characters, found 'aaaaaaaaaaaa'"),
    (
        "(" * 65 + "all()" + ")" * 65,
        "at column 66: expected at most 64 parentheses in one another, found 'all())))))))'",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_refused_and_where(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^at column \d") as refused:
        selector.parse(text)
    assert str(refused.value) == message


def test_the_limits_themselves_are_allowed() -> None:
    assert selector.parse("a" * 512 + " == 'x'").matches({"a" * 512: "x"})
    assert selector.parse("(" * 64 + "all()" + ")" * 64).matches({})
    assert not selector.parse("!" * 9999 + "all()").matches({})


LABELS = st.text("abzAZ09_./-", min_size=1, max_size=6)
STRINGS = st.one_of(st.text("ab'", max_size=4), st.text('ab" {}', max_size=4))
LEAVES = st.one_of(
    st.just(All()),
    st.just(Global()),
    st.builds(Has, LABELS),
    st.builds(Compare, LABELS, st.sampled_from(Operator), STRINGS),
    st.builds(In, LABELS, st.frozensets(STRINGS, max_size=3).map(lambda some: tuple(sorted(some))), st.booleans()),
)


def branches(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(inner.filter(lambda one: not isinstance(one, Not)).map(Not), several.map(And), several.map(Or))


@settings(deadline=None, max_examples=200)
@given(tree=st.recursive(LEAVES, branches, max_leaves=8), labels=st.dictionaries(LABELS, STRINGS, max_size=3))
def test_every_tree_is_read_back_from_its_canonical_text(tree: Expression, labels: dict[str, str]) -> None:
    parsed = selector.parse(str(tree))
    assert parsed.root == tree
    assert str(parsed) == str(tree)
    assert parsed == selector.parse(str(parsed))
    assert parsed.matches(labels) == tree.matches(labels)


def outcome(text: str) -> tuple[bool, str]:
    try:
        return True, str(selector.parse(text))
    except ValueError as error:
        return False, str(error)


@settings(deadline=None, max_examples=200)
@given(text=st.text("ab !&|(){}=,'\"hasinlotcw", max_size=24))
def test_any_text_is_a_selector_or_refused_with_a_column(text: str) -> None:
    accepted, said = outcome(text)
    assert outcome(said) == (True, said) if accepted else said.startswith("at column ")

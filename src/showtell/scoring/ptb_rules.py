"""The rules of coco-caption's tokenizer, found by asking it.

The reference is CoreNLP 3.4.1's ``PTBTokenizer -preserveLines -lowerCase``. These rules were written from its
answers to some millions of made-up strings, not from its source. Like any lexer it takes, at each place, the rule
that matches the longest text, the earlier rule of two; what a rule only looks at (after the group ``token``) counts
as matched.
"""

from __future__ import annotations

import json
import re
from importlib import resources


def _classes() -> dict[str, str]:
    """Read which characters the reference takes for what, as the inside of a regular expression's set."""
    text = resources.files("showtell.scoring").joinpath("ptb_characters.json").read_text(encoding="utf-8")
    return {
        name: "".join("-".join(f"\\u{int(end, 16):04x}" for end in span.split("-")) for span in spans.split())
        for name, spans in json.loads(text).items()
    }


_SETS = _classes()
L, D = _SETS["letters"], _SETS["digits"]
LM = L + _SETS["marks"]
SOFT = "\u00ad"
WORDISH = rf"{LM}{D}{SOFT}"
APOSTROPHE = "(?:['\u0092\u2019]|&apos;)"
DASHLIKE = "\\-\u058a\u2010\u2011"

WORD = rf"[{LM}][{WORDISH}]*"
NUMBER = rf"[{D}{SOFT}]+"
THING = rf"(?:{WORD}|[{D}][{L}{D}{SOFT}]*)"
UNDERSCORED = rf"{THING}(?:_+{THING})*"
ACRONYM = r"(?:[A-Za-z]\.){2,}"
HYPHENED = rf"[{L}{D}][{L}{D}.,{SOFT}]*(?:[{DASHLIKE}](?:{ACRONYM}|{UNDERSCORED}))+"

ABBREVIATIONS = (
    "adj adm adv al ala alex apr ariz assn assoc asst atty attys aug ave bancorp bhd bldg blvd brig bros "
    "calif capt cf cie cmdr co col colo comdr conn corp cos cpl ct dak dec dept det dr drs elec ens esq "
    "est etc ext feb fla fri ft ga gen gov govs hon inc ind insp intl invt jan jos jr jul jun kan kans ky "
    "lieut lt ltd maj mar md messrs mfg mich minn mlle mme mo mon mont mr mrs ms msgr mt mtg natl neb nev "
    "nov oct okla penn pfc ph plc ppte ppty pres prof profs pte ptes pty ptys pvt rd rep reps rev rt sen "
    "sens sep sept seq sfc sgt spc sq sr st ste supt sys tel tenn thu thurs treas tue tues univ va vs vt "
    "wed wis wisc wm wyo"
)
CAPITALISED = "ark az del ill la mass miss ore pa tex wash"
BEFORE_NUMBER = "art ca fig figs no nos op pp prop"
STARTERS = (
    "a about according additionally after an as at but he her here however if in it last many more now "
    "once one other our she since so some that the their then there these they this we what when while "
    "yet you"
)


def _choice(words: str) -> str:
    return "|".join(sorted(words.split(), key=len, reverse=True))


_SPACE = "[ \t\u00a0]"
_ABBREVIATION = (
    rf"(?:(?i:{_choice(ABBREVIATIONS)})|{_choice(CAPITALISED.title())}|{_choice(CAPITALISED.upper())})\."
)

# (pattern of the token, pattern only looked at)
_RULES: list[tuple[str, str]] = [
    (r"<[!?]?[A-Za-z][^>\n]*>|</[A-Za-z][^>\n]*>|<!--[^>\n]*>", ""),
    (r"[Cc][Aa][Nn]", r"[Nn][Oo][Tt][^" + WORDISH + "]"),
    (r"[Gg][Oo][Nn]|[Ww][Aa][Nn]", r"[Nn][Aa][^" + WORDISH + "]"),
    (r"[Gg][Oo][Tt]", r"[Tt][Aa][^" + WORDISH + "]"),
    (r"[Gg][Ii][Mm]|[Ll][Ee][Mm]", r"[Mm][Ee][^" + WORDISH + "]"),
    (rf"{APOSTROPHE}[Tt]", r"(?:[Ii][Ss]|[Ww][Aa][Ss])[^" + WORDISH + "]"),
    (rf"{WORD}?", rf"[Nn]{APOSTROPHE}[Tt]"),
    (rf"[Nn](?:{APOSTROPHE}|[`\u00b4])[Tt]", ""),
    (rf"{WORD}", rf"(?i:{APOSTROPHE}(?:[msd]|re|ve|ll))[^{WORDISH}]"),
    (rf"{APOSTROPHE}(?i:[msd]|re|ve|ll)", rf"[^{WORDISH}]"),
    (rf"[Yy]{APOSTROPHE}", rf"[{L}]"),
    (
        rf"{APOSTROPHE}[Nn]{APOSTROPHE}?|[lLdDjJ]{APOSTROPHE}|(?i:ol){APOSTROPHE}|{APOSTROPHE}(?i:em|till?|cause)",
        "",
    ),
    (rf"[A-HJ-XZdlno]{APOSTROPHE}[{L}]{{2}}[{WORDISH}]*", ""),
    (rf"[oO]{APOSTROPHE}[{L}]{{2}}[{WORDISH}]*", ""),
    (rf"[{L}]+[aeiouyAEIOUY]{APOSTROPHE}[aeiouAEIOU][{L}]*", ""),
    (rf"{APOSTROPHE}(?:[2-9]0s|[{D}]{{2}}(?![{WORDISH}]))", ""),
    (rf"[{L}][{L}{D}]*(?:\.[{L}][{L}{D}]*)+", ""),
    (r"https?://[^\s\"<>|()]*\.[^\s\"<>|()]*[^\s\"<>|().,!?;:]", ""),
    (r"(?:[A-Za-z][\w\-]*\.)+(?:com|net|org|edu)(?:/[^\s\"<>|()]*[^\s\"<>|().,!?;:])?", ""),
    (r"(?:<)?[A-Za-z0-9][^\s\"<>|()]*@(?:[A-Za-z0-9_\-]+\.)*[A-Za-z0-9_\-]+>?", ""),
    (rf"@[{L}_][{L}{D}_]*", ""),
    (rf"#[{L}]+", ""),
    (rf"{UNDERSCORED}", ""),
    (rf"{HYPHENED}", ""),
    (rf"(?:{HYPHENED}|{UNDERSCORED})(?:/(?:{HYPHENED}|{UNDERSCORED})){{1,2}}", ""),
    (r"[A-Z]+(?:&[A-Z]+)+", ""),
    (rf"[{L}]+[!?][{L}]+", ""),
    (rf"[+\-]?(?:{NUMBER}|[.,:]{NUMBER})(?:[.,:\u066b\u066c]{NUMBER})*", ""),
    (rf"(?:{NUMBER}[ \-\u00a0])?{NUMBER}[/\u2044]{NUMBER}", ""),
    (_ABBREVIATION, ""),
    (rf"(?i:{_choice(BEFORE_NUMBER)})\.", rf"{_SPACE}*[{D}]"),
    (r"(?:[A-Za-z]\.)+", ""),
    (
        r"[A-Za-z]",
        rf"\.(?:{_SPACE}*\n|{_SPACE}+(?:{_choice(STARTERS.title())}|{_choice(STARTERS.upper())}){_SPACE})",
    ),
    (r"[A-Z]{1,3}\$", ""),
    (r"\.(?: ?\.){2,}|\.{3,}", ""),
    (rf"{APOSTROPHE}", rf"[{L}]\S"),
    (r"[?!]+|_+|\*+|@+|#+|-+|<<|>>|''|``", ""),
]

RULES = [re.compile(rf"(?P<token>{token}){look}") for token, look in _RULES]

# What none of the rules covers and is still a token of one character; all else is dropped
SYMBOL = re.compile(f"[{_SETS['symbols']}*<>`\"',:;.!?$%&#@+/()\\[\\]{{}}\\u0080-\\uffff]")
# Texts in which a rule may look beyond a space
CONTEXT = re.compile(rf"[<{D}]|\.[ \t\u00a0]?\.|(?<![{LM}])[A-Za-z]\.(?:[ \t\u00a0]|$)")
# Words that are one token, alone and before a full stop or a comma
PLAIN = re.compile("[A-Za-z]{2,}(?:-[A-Za-z]{2,})*")
WHOLE_WORDS = frozenset(f"{ABBREVIATIONS} {CAPITALISED} cannot gonna wanna gotta gimme lemme".split())

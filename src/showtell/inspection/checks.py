"""All checks of a prepared set, one after the other: one that cannot be made does not stop the others."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from showtell.data.prepared import PreparedSet
from showtell.data.prepared_writer import PROBLEMS
from showtell.data.problems import KINDS as PREPARED_KINDS
from showtell.data.problems import read_problems
from showtell.errors import ConfigError, MissingExtraError, did_you_mean, import_extra
from showtell.inspection import captions, hashes
from showtell.inspection.findings import KINDS, Check, Finding, Inspection
from showtell.inspection.languages import MAX_PROBABILITY, find_other_languages

Find = Callable[[PreparedSet], Iterable[Finding]]
NO_CAPTIONER = "needs --captioner"

CHECKS: tuple[tuple[Check, Find], ...] = (
    (
        Check(
            ("leaked-image", "near-duplicate", "unreadable-image"),
            f"pHash of ImageHash, {hashes.BITS} bits, of which at most {hashes.MAX_DISTANCE} differ",
        ),
        hashes.find_near_duplicates,
    ),
    (
        Check(
            ("leaked-caption",), f"equal but for case and punctuation, {captions.LEAKED_WORDS} words or more"
        ),
        captions.find_leaked,
    ),
    (
        Check(
            ("repeated-caption",),
            f"at {100 * captions.REPEATED:g} % of the images, and {captions.REPEATED_IMAGES} at least",
        ),
        captions.find_repeated,
    ),
    (Check(("boilerplate",), "notices, file names and addresses, by patterns"), captions.find_boilerplate),
    (
        Check(
            ("phrase",),
            "; ".join(f"{size} words: {100 * part:g} %" for size, part in captions.PHRASES.items())
            + f" of the images, and {captions.PHRASE_IMAGES} at least",
        ),
        captions.find_phrases,
    ),
    (
        Check(("language",), f"py3langid, the main language has a probability below {MAX_PROBABILITY}"),
        find_other_languages,
    ),
)


CAPTIONER_CHECKS = (
    Check(("leaked-scene", "same-scene"), "cosine of the captioner's pooled features"),
    Check(
        ("mismatched-image", "mismatch"),
        "the captioner's loss on the image, compared with the mean of its losses on others",
    ),
)


def inspect_set(
    data: Path, *, captioner: Path | None = None, ignore: Collection[str] = (), **options: Any
) -> Inspection:
    """Check a prepared set.

    Args:
        data: The set.
        captioner: A captioner for the checks that need one; ``options`` are those of
            `showtell.inspection.captioner.encode`.
        ignore: Kinds that are not checked.

    Raises:
        ConfigError: a kind is unknown, or the captioner is an export.
        DataError: there is no prepared set, or it is broken.
        ShowtellError: the captioner cannot be used.
    """
    check_kinds(ignore, "--ignore")
    prepared = PreparedSet.load(data)
    problems = [
        problem for problem in read_problems(prepared.directory / PROBLEMS) if problem.kind not in ignore
    ]
    inspection = Inspection(prepared, problems)
    if captioner is None:
        finders: list[Find] = []
    else:
        import_extra("torch", extra="train")
        from showtell.inspection.captioner import encode, find_mismatches, find_same_scenes

        encoded = encode(prepared, captioner, **options)
        finders = [partial(find_same_scenes, encoded=encoded), partial(find_mismatches, encoded=encoded)]
    for check, find in (*CHECKS, *zip(CAPTIONER_CHECKS, finders, strict=False)):
        _run(inspection, check, find, ignore)
    if captioner is None:
        inspection.checks += [replace(check, skipped=NO_CAPTIONER) for check in CAPTIONER_CHECKS]
    return inspection


def _run(inspection: Inspection, check: Check, find: Find, ignore: Collection[str]) -> None:
    """Add a check and its findings; without the extra that it needs, it is skipped."""
    kinds = tuple(kind for kind in check.kinds if kind not in ignore)
    if not kinds:
        return
    try:
        findings = list(find(inspection.prepared))
    except MissingExtraError as error:
        inspection.checks.append(Check(kinds, check.how, str(error)))
        return
    inspection.checks.append(Check(kinds, check.how))
    for kind in kinds:
        of_kind = [finding for finding in findings if finding.kind == kind]
        inspection.findings[kind] = sorted(of_kind, key=lambda finding: -finding.value)


def count_over_limits(inspection: Inspection, limits: Iterable[str]) -> list[str]:
    """Return a sentence for each limit, ``KIND`` or ``KIND=N``, that the findings exceed.

    Raises:
        ConfigError: a limit is not a number, or its kind is unknown or was not checked.
    """
    counts = inspection.problem_counts | {kind: len(group) for kind, group in inspection.findings.items()}
    exceeded = []
    for limit in limits:
        kind, _, number = limit.partition("=")
        check_kinds([kind], "--fail-on")
        if number and not number.isdecimal():
            raise ConfigError(f"--fail-on {limit}", found=f"'{number}'", expected="KIND or KIND=N")
        if kind in KINDS and kind not in inspection.findings:
            skipped = [check.skipped for check in inspection.checks if kind in check.kinds]
            raise ConfigError(f"--fail-on {kind}: not checked", found=", ".join(skipped) or "--ignore")
        if (count := counts.get(kind, 0)) > int(number or 0):
            exceeded.append(f"{kind}: {count:,} findings, at most {int(number or 0):,} allowed")
    return exceeded


def check_kinds(kinds: Iterable[str], option: str) -> None:
    """Raise a ConfigError for a kind that neither inspection nor preparation finds."""
    known = {**KINDS, **PREPARED_KINDS}
    for kind in kinds:
        if kind not in known:
            raise ConfigError(f"{option} {kind}: no such kind", mend=did_you_mean(kind, known))

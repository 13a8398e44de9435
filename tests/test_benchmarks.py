"""The benchmarks run, on a few small maps, and write whole pages."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def tables(page: str) -> list[list[list[str]]]:
    """The cells of each table in a Markdown page, row by row, the header first and the rule left out."""
    blocks = re.findall(r"(?:^\|.*\|$\n?)+", page, re.M)
    rows = [[line.strip("|").split("|") for line in block.splitlines()] for block in blocks]
    return [[[cell.strip() for cell in row] for row in table if set("".join(row)) - set("-:")] for table in rows]


def test_statistics_are_timed_with_and_without_the_optional_packages(tmp_path):
    output = tmp_path / "page.md"
    options = ["--maps", "8", "--pixels", "32", "--repeat", "1", "--device", "cpu", "--output", str(output)]
    command = [sys.executable, str(ROOT / "benchmarks/statistics.py"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    targets, costs, growth, others = tables(output.read_text(encoding="utf-8"))
    for table in (targets, costs, growth, others):
        assert {len(row) for row in table} == {len(table[0])}, table
    names = [
        "power", "bispectrum", "pdf", "moments", "peaks", "minima", "minkowski", "starlet peaks", "starlet l1",
        "scattering",
    ]  # fmt: skip
    floor = ["`rfft2`, one call", "`rfft2`, batches"]
    assert [row[0] for row in costs[1:]] == [*floor, *names, "**whole suite**", "bins of the suite"]
    assert [row[0] for row in growth[1:]] == [*floor, *names, "**whole suite**"]
    assert list(dict.fromkeys(row[0] for row in others[1:])) == names
    for row in others[1:]:
        compared = re.fullmatch(r"\*\*.+ ×\*\* \(.+ : .+\)", row[2]) and float(row[3].removesuffix(" σ")) < 0.5
        assert compared or row[2] == "not installed", row
    assert all(re.fullmatch(r"[\d.e+-]+ (s|ms|µs|ns)", row[1]) and float(row[3]) > 0 for row in costs[1:])

"""Which Debian mirror this machine uses: its apt sources, in both of apt's formats.

Source: sources.list(5), "ONE-LINE-STYLE FORMAT" and "DEB822-STYLE FORMAT".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# fmt: off
_DEBIAN_SUITES = frozenset({
    "oldoldstable", "oldstable", "stable", "testing", "unstable", "sid",
    "bullseye", "bookworm", "trixie", "forky", "duke",
})
# fmt: on
_NO = frozenset({"no", "false", "without", "off", "disable", "0"})  # apt's spellings of a false field
_POCKETS = ("-updates", "-backports", "-proposed-updates")
# What Debian's own package installs; the second name is the newer one.
_DEFAULT_KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")


@dataclass(frozen=True, slots=True)
class Source:
    """One repository of binary packages as apt is told of it."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str | None = None
    """Path of a keyring; None when the entry names none, or names it by fingerprint or as an embedded key."""

    def serves_debian_main(self) -> bool:
        """Whether other suites of Debian can be expected beside this one (a security archive has none)."""
        if "main" not in self.components or self.uri.startswith("cdrom:"):
            return False
        return any(_without_pocket(suite) in _DEBIAN_SUITES for suite in self.suites)


def _without_pocket(suite: str) -> str:
    for pocket in _POCKETS:
        suite = suite.removesuffix(pocket)
    return suite


def parse_one_line(text: str) -> list[Source]:
    """Entries of a `.list` file; what apt would refuse is left out, since apt itself reports it."""
    sources = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+([^#]+)", line)
        if match is None:
            continue
        options = dict(option.split("=", 1) for option in (match[1] or "").split() if "=" in option)
        suite, *components = match[3].split() or [""]
        sources.append(Source(match[2], (suite,), tuple(components), _keyring_path(options.get("signed-by", ""))))
    return sources


def parse_deb822(text: str) -> list[Source]:
    """Entries of a `.sources` file, one for each URI of each enabled stanza."""
    sources = []
    for stanza in _stanzas(text):
        if "deb" not in stanza.get("types", "").split() or stanza.get("enabled", "yes").lower() in _NO:
            continue
        for uri in stanza.get("uris", "").split():
            suites, components = stanza.get("suites", "").split(), stanza.get("components", "").split()
            sources.append(Source(uri, tuple(suites), tuple(components), _keyring_path(stanza.get("signed-by", ""))))
    return sources


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    # A comment line neither ends a stanza nor a folded field, so comments go first.
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for block in re.split(r"\n\s*\n", "\n".join(lines)):
        fields: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if line[:1] in (" ", "\t") and key:
                fields[key] += "\n" + line.strip()
            elif ":" in line:
                key, value = line.split(":", 1)
                key = key.strip().lower()
                fields[key] = value.strip()
        if fields:
            yield fields


def _keyring_path(signed_by: str) -> str | None:
    first = re.split(r"[,\s]", signed_by.strip(), maxsplit=1)[0]
    return first if first.startswith("/") else None


def machine_sources(etc_apt: Path = Path("/etc/apt")) -> list[Source]:
    """All entries in the order in which apt reads them; a file that cannot be read is passed over."""
    sources: list[Source] = []
    for path in (etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))):
        parse = {".list": parse_one_line, ".sources": parse_deb822}.get(path.suffix)
        try:
            text = path.read_text(errors="replace") if parse else ""
        except OSError:
            continue
        if parse:
            sources += parse(text)
    return sources


def debian_mirrors(sources: list[Source]) -> list[Source]:
    """Those that serve Debian's main component, each URI once."""
    return list({source.uri: source for source in reversed(sources) if source.serves_debian_main()}.values())[::-1]


def keyring_for(source: Source) -> str | None:
    """Keyring to check a suite of `source` with; None leaves it to the keys that apt trusts on this machine."""
    for path in (source.signed_by, *_DEFAULT_KEYRINGS):
        if path is not None and Path(path).is_file():
            return path
    return None

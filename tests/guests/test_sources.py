from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from guests.sources import Source, debian_mirrors, keyring_for, machine_sources, parse_deb822, parse_one_line

URI = "http://mirror.example/debian"


def test_parse_one_line_plain_entry() -> None:
    text = f"# comment\ndeb {URI} bookworm main contrib # trailing\ndeb-src {URI} bookworm main\n"

    assert parse_one_line(text) == [Source(URI, ("bookworm",), ("main", "contrib"))]


def test_parse_one_line_options_name_the_keyring() -> None:
    text = f"deb [ arch=amd64 signed-by=/keys/a.gpg,/keys/b.gpg ] {URI} sid main"

    assert parse_one_line(text) == [Source(URI, ("sid",), ("main",), "/keys/a.gpg")]


def test_parse_one_line_flat_repository_has_no_components() -> None:
    assert parse_one_line(f"deb {URI} ./") == [Source(URI, ("./",), ())]


def test_parse_deb822_stanzas_uris_and_comments() -> None:
    text = f"""\
Types: deb deb-src
# a comment inside a stanza
URIs: {URI}
 http://second.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /keys/debian.gpg

types: deb
uris: http://security.example/debian-security
suites: bookworm-security
components: main
"""
    suites = ("bookworm", "bookworm-updates")

    assert parse_deb822(text) == [
        Source(URI, suites, ("main",), "/keys/debian.gpg"),
        Source("http://second.example/debian", suites, ("main",), "/keys/debian.gpg"),
        Source("http://security.example/debian-security", ("bookworm-security",), ("main",)),
    ]


def test_parse_deb822_disabled_and_source_stanzas_are_left_out() -> None:
    disabled = f"Types: deb\nURIs: {URI}\nSuites: sid\nComponents: main\nEnabled: no\n"
    source_only = f"Types: deb-src\nURIs: {URI}\nSuites: sid\nComponents: main\n"

    assert parse_deb822(disabled + "\n" + source_only) == []


def test_parse_deb822_embedded_key_names_no_keyring() -> None:
    text = f"Types: deb\nURIs: {URI}\nSuites: sid\nComponents: main\nSigned-By:\n -----BEGIN PGP-----\n .\n abc\n"

    assert [source.signed_by for source in parse_deb822(text)] == [None]


@given(st.text())
def test_parse_any_text_gives_a_list(text: str) -> None:
    assert isinstance(parse_one_line(text), list)
    assert isinstance(parse_deb822(text), list)


def test_machine_sources_reads_both_formats_in_apts_order(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://one.example/debian sid main\n")
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "b.list").write_text("deb http://three.example/debian sid main\n")
    (parts / "a.sources").write_text("Types: deb\nURIs: http://two.example/debian\nSuites: sid\nComponents: main\n")
    (parts / "c.list.disabled").write_text("deb http://four.example/debian sid main\n")

    found = [source.uri for source in machine_sources(tmp_path)]

    assert found == ["http://one.example/debian", "http://two.example/debian", "http://three.example/debian"]


def test_debian_mirrors_others_are_left_out_and_uris_come_once() -> None:
    mirror = Source(URI, ("bookworm",), ("main",), "/keys/first.gpg")
    others = [
        Source("http://security.example/debian-security", ("bookworm-security",), ("main",)),
        Source("http://vendor.example/apt", ("nodistro",), ("main",)),
        Source("http://contrib.example/debian", ("bookworm",), ("contrib",)),
        Source("cdrom:[Debian]/", ("bookworm",), ("main",)),
    ]
    again = Source(URI, ("bookworm-updates",), ("main",))

    assert debian_mirrors([*others, mirror, again]) == [mirror]


def test_debian_mirrors_update_suite_alone_counts() -> None:
    source = Source(URI, ("trixie-updates",), ("main",))

    assert debian_mirrors([source]) == [source]


def test_keyring_for_named_keyring_wins(tmp_path: Path) -> None:
    keyring = tmp_path / "k.gpg"
    keyring.touch()

    assert keyring_for(Source(URI, ("sid",), ("main",), str(keyring))) == str(keyring)

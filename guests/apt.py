"""The machine's own apt client on private directories, for another architecture and suite, without root.

apt checks the suite's signature and every index and package against it; nothing here weakens that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from guests.errors import FetchError
from guests.sources import Source, keyring_for

_TIMEOUT = 1800  # seconds for one apt run; arbitrary, generous for 130 MB on a slow line

# The last three lines drop hooks by which the machine looks after its own package lists.
_CONFIG = """\
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowDowngradeToInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::Languages "none";
Acquire::Retries "2";
Dir::State "{root}/state";
Dir::State::lists "{root}/state/lists";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Etc::sourcelist "{root}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


def tool(name: str) -> str:
    """Absolute path of a program; raises FetchError. The sbin directories are not in every user's PATH."""
    path = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
    if path is None:
        raise FetchError(f"program {name!r} not found: install it (this script needs a Debian-like machine)")
    return path


class PrivateApt:
    """One suite of one mirror, seen through an apt of its own under `root` (made here, removed by the caller)."""

    def __init__(self, root: Path, mirror: Source, suite: str, architecture: str) -> None:
        self.suite = suite
        self._keyring = keyring_for(mirror)
        self._config = root / "apt.conf"
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (root / folder).mkdir(parents=True)
        (root / "state/status").touch()
        options = f"arch={architecture}" + (f" signed-by={self._keyring}" if self._keyring else "")
        (root / "sources.list").write_text(f"deb [{options}] {mirror.uri} {suite} main\n")
        config = _CONFIG.format(architecture=architecture, root=root)
        if os.geteuid() == 0:
            # Root's apt would download as user _apt, who may not enter this directory.
            config += 'APT::Sandbox::User "root";\n'
        self._config.write_text(config)

    def update(self) -> None:
        """Fetch the suite's index files; raises FetchError."""
        self._run("apt-get", "update")

    def show(self, package: str) -> Mapping[str, str]:
        """Control fields of the newest version of `package`, keys in lower case; raises FetchError."""
        output = self._run("apt-cache", "show", "--no-all-versions", package)
        return dict(_control_fields(output))

    def download(self, packages: Sequence[str], into: Path) -> list[Path]:
        """Fetch packages into the directory `into`, checked against the signed index; raises FetchError."""
        self._run("apt-get", "download", *packages, cwd=into)
        return sorted(into.glob("*.deb"))

    def _run(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        command = [tool(program), "-qq", "-c", str(self._config), *arguments]
        environment = {**os.environ, "LC_ALL": "C"}
        try:
            done = subprocess.run(
                command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, errors="replace"
            )
        except subprocess.TimeoutExpired:
            raise FetchError(f"suite {self.suite}: {program} took more than {_TIMEOUT} s") from None
        if done.returncode != 0:
            raise FetchError(f"suite {self.suite}: {explain(done.stderr, self._keyring)}")
        return done.stdout


def explain(stderr: str, keyring: str | None) -> str:
    """apt's complaint as one line."""
    if "NO_PUBKEY" in stderr or "Missing key" in stderr:
        return (
            f"its signing key is missing from {keyring or 'the keys that apt trusts'};"
            " install a newer debian-archive-keyring"
        )
    if "unexpected size" in stderr or "Hash Sum mismatch" in stderr:
        return "index files are out of step with the signed list (the mirror is being updated)"
    errors = [line[2:].strip() for line in stderr.splitlines() if line.startswith("E:")]
    return (errors or ["apt failed without a message"])[0]


def _control_fields(text: str) -> list[tuple[str, str]]:
    first = text.split("\n\n", 1)[0]
    lines = [line.split(":", 1) for line in first.splitlines() if ":" in line and not line[0].isspace()]
    return [(key.lower(), value.strip()) for key, value in lines]


def kernel_packages(metapackage: str, show: Callable[[str], Mapping[str, str]]) -> list[str]:
    """Real packages behind a `linux-image-*` metapackage.

    Up to Debian 13 that is one package; later releases split kernel, modules and lists of built-in modules
    into several `linux-*-<ABI>` packages, found by following the dependencies of that name pattern.
    """
    image = next((name for name in _depends(show(metapackage)) if name.startswith("linux-image-")), None)
    if image is None:
        raise FetchError(f"package {metapackage} names no kernel image")
    abi = image.removeprefix("linux-image-")
    found: dict[str, None] = {}
    queue = [image]
    while queue:
        name = queue.pop()
        if name not in found:
            found[name] = None
            queue += [other for other in _depends(show(name)) if _is_part(other, abi)]
    return sorted(found)


def with_libraries(package: str, show: Callable[[str], Mapping[str, str]]) -> list[str]:
    """A package of programs and all packages of libraries that it needs, by Debian's naming of these (policy 8.1)."""
    found: dict[str, None] = {}
    queue = [package]
    while queue:
        name = queue.pop()
        if name not in found:
            found[name] = None
            queue += [other for other in _depends(show(name)) if other.startswith(("lib", "zlib"))]
    return sorted(found)


def _is_part(name: str, abi: str) -> bool:
    return name.startswith("linux-") and name.endswith("-" + abi)


def _depends(fields: Mapping[str, str]) -> list[str]:
    clauses = [clause.split() for clause in fields.get("depends", "").split(",")]
    return [words[0].split(":")[0] for words in clauses if words]

"""The YAML files that a run can be composed from: the packaged ones, and a folder of the user's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import configs
from inflight.refusal import Reason

# Hydra looks for this in the first lines of a file whose keys start at the root.
_AT_THE_ROOT = "# @package _global_"


@dataclass(frozen=True, slots=True)
class ConfigFiles:
    """Groups are folders, options are the files in them.

    Attributes:
        own: the user's folder, laid out like the packaged one; None if there is none.
    """

    own: Path | None = None

    @property
    def packaged(self) -> Path:
        """The folder `configs/` that comes with the project."""
        return Path(configs.__file__).parent

    def groups(self) -> list[str]:
        """Folders that one file is chosen of, e.g. `trainer`; nested ones with a slash."""
        found = {
            path.parent.relative_to(root).as_posix() for root in self._roots() for path in root.glob("*/**/*.yaml")
        }
        return sorted(found)

    def options(self, group: str) -> dict[str, str]:
        """The files of a group, without `.yaml`, and what the first comment of each says."""
        files = {path.stem: path for root in self._roots() for path in root.joinpath(group).glob("*.yaml")}
        return {name: _first_comment(files[name]) for name in sorted(files)}

    def check(self) -> list[Reason]:
        """What is wrong with the user's folder as a whole."""
        if self.own is None:
            return []
        if not self.own.is_dir():
            return [
                Reason("--config-dir", f"there is no folder {self.own}. Write the folder that holds experiment/.")
            ]
        reasons = []
        for path in sorted(self.own.glob("**/*.yaml")):
            name = path.relative_to(self.own)
            if (self.packaged / name).exists():
                reasons.append(
                    Reason(
                        f"--config-dir {self.own}",
                        f"{name} has the name of a packaged file, which Hydra would read instead. Give it another "
                        "name and choose it by that.",
                    )
                )
            elif name.parts[0] == "experiment" and not path.read_text(encoding="utf-8").startswith(_AT_THE_ROOT):
                reasons.append(
                    Reason(
                        f"--config-dir {self.own}",
                        f"{name} must begin with the line `{_AT_THE_ROOT}`: without it, Hydra puts its keys under "
                        "`experiment`, where nothing reads them.",
                    )
                )
        return reasons

    def _roots(self) -> list[Path]:
        return [self.packaged] if self.own is None else [self.packaged, self.own]


def _first_comment(path: Path) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and not line.startswith("# @"):
            return line.lstrip("# ").strip()
    return ""

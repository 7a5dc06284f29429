"""Where the pictures of a set lie: a folder for each class, perhaps in folders of a training and a
test part.
"""

from __future__ import annotations

from pathlib import Path

from wakesleep.data.pictures import SUFFIXES
from wakesleep.foundation.errors import DataError

TRAIN, TEST, VALIDATION = ("train", "training"), ("test", "testing"), ("val", "valid", "validation")
"""Names of the folders that hold a part of a set, in any case."""
NOT_OURS = frozenset(("__macosx",))
"""Folders that programs leave behind, beside hidden ones."""


def pictures_below(folder: Path, empty: list[str]) -> str:
    """Return in words where pictures lie below the folders of classes without any; nothing where
    there are none.
    """
    below = (path for name in empty for path in sorted((folder / name).rglob("*")))
    example = next((p for p in below if p.suffix.lower() in SUFFIXES and p.is_file()), None)
    if example is None:
        return ""
    return (
        f". There are pictures deeper down, e.g. {example}: give the folder that holds the "
        f"classes' folders, {example.parent.parent}, or move them up"
    )


def no_classes(folder: Path) -> str:
    """Return in words what a folder without subfolders holds, and what to give or do instead."""
    if pictures := class_pictures([folder.parent], folder.name):
        return (
            f"{folder} holds {len(pictures):,} pictures and no folders: pictures are told apart by "
            "their folders, so each class needs one of its own: move them into "
            f"{folder.name}/CLASS/, e.g. {folder.name}/cat/{pictures[0].name}"
        )
    arrays = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".npz", ".npy"))
    if arrays:
        return (
            f"{folder} holds {', '.join(path.name for path in arrays[:5])}: give the file instead "
            f"of its folder: {arrays[0]}"
        )
    return (
        f"{folder} holds neither IDX files nor recordings nor a subfolder of pictures for each "
        "class"
    )


def part_folders(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders of the training part and those of the test part; `folder` itself where it
    holds the classes.
    """
    inside = subfolders(folder)
    train, test, validation = (
        [path for path in inside if path.name.lower() in names]
        for names in (TRAIN, TEST, VALIDATION)
    )
    parts = [*train, *test, *validation]
    # a class may be called train
    if not train or any(class_pictures([folder], path.name) for path in train):
        return [folder], []
    if len(parts) < len(inside) or max(map(len, (train, test, validation))) > 1:
        raise DataError(
            f"{folder} holds {', '.join(path.name for path in inside)}; expected train/ and, as "
            "far as they are there, one test/ and one val/, each with a subfolder a class: move "
            "the others elsewhere"
        )
    return (train + validation, test) if test else (train, validation)


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, in the order of their names; hidden ones are none."""
    folders = (path for path in folder.iterdir() if path.is_dir())
    return sorted(
        path
        for path in folders
        if not path.name.startswith(".") and path.name.lower() not in NOT_OURS
    )


def class_pictures(folders: list[Path], name: str) -> list[Path]:
    """Return the pictures of a class; hidden files, among them the ._NAME that macOS leaves on
    other disks, are none.
    """
    homes = [folder / name for folder in folders if (folder / name).is_dir()]
    candidates = (path for home in homes for path in sorted(home.iterdir()))
    return [
        path
        for path in candidates
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]

"""Weights that are hosted: ``hf:OWNER/NAME[/FILE][@REVISION]``, by way of huggingface_hub and its cache."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from kinema.errors import InputError, MissingExtraError, UsageError

__all__ = ["PREFIX", "HubFile", "fetch", "parse_hub"]

PREFIX = "hf:"
"""What such a name begins with."""

_WRITTEN = "hf:OWNER/NAME, hf:OWNER/NAME/FILE.safetensors, or either with @REVISION"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_NAME = re.compile(rf"hf:({_PART}/{_PART})(?:/([^@]+))?(?:@(\S+))?")


class HubFile(NamedTuple):
    """A file in a hosted repository.

    Attributes:
        repository: OWNER/NAME.
        file: its path there; None when the name leaves it open.
        revision: branch, tag or commit; None for the newest.
    """

    repository: str
    file: str | None
    revision: str | None


def parse_hub(text: str) -> HubFile:
    """Take a hosted name apart.

    Args:
        text: as in ``--weights``, beginning with ``hf:``.

    Returns:
        Its parts.

    Raises:
        UsageError: when it cannot be one, or the file is no .safetensors.
    """
    match = _NAME.fullmatch(text)
    if match is None:
        raise UsageError(f"--weights {text}: write {_WRITTEN}")
    if match[2] is not None and not match[2].endswith(".safetensors"):
        raise UsageError(
            f"--weights {text}: only .safetensors files are taken from there; download it, then "
            "kinema weights convert FILE -o OUT.safetensors"
        )
    return HubFile(match[1], match[2], match[3])


def fetch(text: str, *, default_file: str) -> Path:
    """Bring a hosted file here; what the cache has is not fetched again.

    Args:
        text: as in ``--weights``, beginning with ``hf:``.
        default_file: its name where the text names none, such as ``pwcnet-dc.safetensors``.

    Returns:
        The file in the cache.

    Raises:
        UsageError: when the text cannot be understood.
        MissingExtraError: when huggingface_hub is not installed.
        InputError: when there is no such repository or file, or no way to it.
    """
    wanted = parse_hub(text)
    hub = _huggingface_hub()
    file = wanted.file or default_file
    errors = hub.utils
    try:
        return Path(hub.hf_hub_download(wanted.repository, file, revision=wanted.revision))
    except errors.LocalEntryNotFoundError:  # a kind of EntryNotFoundError: it comes first
        reason = "it is not in the cache, and there is no connection; connect, or download it by hand"
    except errors.GatedRepoError:
        page = f"https://huggingface.co/{wanted.repository}"
        reason = f"its owner must let you in: ask at {page}, then hf auth login"
    except errors.RepositoryNotFoundError:
        reason = f"there is no repository {wanted.repository}, or it is private: hf auth login"
    except errors.RevisionNotFoundError:
        reason = f"{wanted.repository} has no revision {wanted.revision}"
    except errors.EntryNotFoundError:
        reason = f"{wanted.repository} has no file {file}" + (
            "" if wanted.file else f"; name one, hf:{wanted.repository}/FILE.safetensors"
        )
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
    raise InputError(f"--weights {text}: {reason}")


def _huggingface_hub() -> ModuleType:
    try:
        importlib.import_module("huggingface_hub.utils")
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub", "--weights hf:...") from None

"""Models by the name that they have on the hub, OWNER/NAME: fetched once, into the cache of huggingface_hub.

Only what is read is fetched: no pickles, no code. Knows nothing of what the files mean.
"""

import importlib.util
import re
from pathlib import Path

from gptforge.errors import CheckpointError, ConfigError, UserError, missing_extra
from gptforge.runs import RUNS

NAME = re.compile(r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w./-]+))?")
FILES = ["config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
         "chat_template.jinja"]  # fmt: skip


def is_name(text: str) -> bool:
    """Whether a text could be OWNER/NAME or OWNER/NAME@REVISION; a path that is there is no name."""
    here = any((root / text).parent.exists() for root in (Path(), RUNS))  # so that it is a path or a run's name
    return NAME.fullmatch(text) is not None and not here and Path(text).name not in ("best", "latest")


def fetch(text: str) -> Path:
    """The folder with the files of a model, OWNER/NAME or OWNER/NAME@REVISION.

    Raises UserError without the package, ConfigError for a name that the hub does not know or does not give out,
    CheckpointError without a network.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise missing_extra("hub", f"there is no path {text}; to fetch it as a model of the hub")
    from huggingface_hub import errors as of_hub
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.logging import set_verbosity_error

    set_verbosity_error()  # it tells of each time that it tries again
    match = NAME.fullmatch(text)
    assert match
    name, revision = match.groups()
    by_hand = f"on a machine that has them: its {', '.join(FILES[:2])}, {FILES[3]} in a folder; gptforge import FOLDER"
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except of_hub.GatedRepoError:
        what = "the hub gives it out only to those who have agreed to its terms"
        raise ConfigError(what, where=text, fix="agree there, then set HF_TOKEN") from None
    except of_hub.RevisionNotFoundError:
        raise ConfigError(f"the hub has no revision {revision} of it", where=text, fix=name) from None
    except of_hub.RepositoryNotFoundError:
        what = "there is no such file or folder, nor a public model of that name on the hub"
        raise ConfigError(what, where=text, fix=["the name as its page has it", "HF_TOKEN, if it is private"]) from None
    except UserError:
        raise
    except Exception as e:  # no network, in the many forms that the library has for it
        reason = " ".join(str(e).split())[:120]
        raise CheckpointError(
            f"there is no such path, and from the hub it could not be fetched: {reason}", where=text, fix=by_hand
        ) from None

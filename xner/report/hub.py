"""The way to the Hugging Face hub."""

from __future__ import annotations

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from xner.errors import ConfigError, TransientError
from xner.shards.remote import library_errors
from xner.shards.storage import Folder


def check_name(name: str) -> None:
    """Raises ConfigError for a name that no data set of the hub can have."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"push_to: {error}") from error


def push_dataset(folder: Folder, name: str, public: bool) -> str:
    """Make the data folder and the card of a local folder what the data set ``name`` holds.

    One commit; a data set that is not there is made, hidden unless ``public``. Returns the URL of
    the commit. Raises ConfigError where the hub does not let us, TransientError where it does not
    answer.
    """
    api = HfApi()
    try:
        api.create_repo(name, repo_type="dataset", private=not public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name,
            repo_type="dataset",
            folder_path=folder.location,
            allow_patterns=["README.md", "data/*"],
            delete_patterns=["data/*"],
            commit_message="Export of xner",
        )
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            raise ConfigError(
                f"push_to {name}: the hub refuses; `hf auth login` gives it a token that may write "
                f"there: {error}"
            ) from error
        raise TransientError(f"push_to {name}: {error}") from error
    except library_errors(OSError) as error:
        raise TransientError(f"push_to {name}: the hub does not answer: {error}") from error
    return str(commit.commit_url)

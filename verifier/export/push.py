"""Push an exported folder to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from shepherd.errors import ShepherdError


def push(folder: Path, repository: str, *, public: bool = False) -> str:
    """Upload a folder as one commit, into a repository that is made if it is not there.

    Args:
        folder: what `shepherd export` wrote.
        repository: ``owner/name``.
        public: a new repository is private otherwise; one that is there stays what it is.

    Returns:
        The commit's address.
    """
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    api = HfApi()
    try:
        api.create_repo(repository, private=not public, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Export of shepherd"
        )
    except (httpx.HTTPError, HFValidationError, OSError) as error:  # the hub's own errors are OSErrors
        cause = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise ShepherdError(
            f"--push {repository}: the hub did not take it ({cause}); the export is whole in {folder}: "
            "log in with hf auth login (or set HF_TOKEN), and unset HF_HUB_OFFLINE"
        ) from error
    return str(commit)

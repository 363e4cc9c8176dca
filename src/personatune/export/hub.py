"""Uploads an exported folder to the Hugging Face hub; nothing here runs unless it is asked for."""

from __future__ import annotations

from pathlib import Path

from personatune.errors import UserError


def push_folder(folder: Path, name: str, *, private: bool = True) -> str:
    """Create the repository where it is missing, upload every file of a folder in one commit, and return its URL.

    The token is the hub client's own (``hf auth login``).

    Raises:
        UserError: no such name, no token, no permission, or no hub; the folder stays as it is.
    """
    from huggingface_hub import HfApi, errors

    unreachable: type[Exception] = vars(errors)["HTTPError"]  # of the HTTP library that this version of the client has
    kept = f"the files are in {folder}"
    try:
        api = HfApi()
        made = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message="Export by personatune")
        return str(made)
    except errors.HFValidationError as error:
        raise UserError(f"--push-to-hub {name}: no name of a repository ({_line(error)}); {kept}") from error
    except errors.LocalTokenNotFoundError as error:
        raise UserError(f"--push-to-hub {name}: nobody is logged in; run hf auth login; {kept}") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "?"
        way_out = "run hf auth login with a token that may write" if status in {401, 403} else "try again later"
        raise UserError(f"--push-to-hub {name}: the hub refused it ({status}); {way_out}; {kept}") from error
    except (errors.OfflineModeIsEnabled, unreachable, OSError) as error:
        raise UserError(f"--push-to-hub {name}: the hub can't be reached ({_line(error)}); {kept}") from error


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")

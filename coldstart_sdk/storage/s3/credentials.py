"""Who we are to S3, and where it is: the environment, then the two files, then whatever boto3 knows.

The order is the AWS SDKs' own. boto3 costs a third of a second to import, so it is asked only for what
cannot be read off: roles, single sign-on, programs, and what a cloud tells its machines.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from coldstart_sdk.errors import StorageError
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.storage.s3 import profiles
from coldstart_sdk.storage.s3.profiles import Profile
from coldstart_sdk.storage.s3.sign import Credentials

KEY_ID, SECRET, TOKEN = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"
_ELSEWHERE = frozenset(
    {"role_arn", "credential_process", "sso_session", "sso_start_url", "web_identity_token_file"}
)
"""Settings of a profile that only boto3 follows."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """Everything but the bucket that a request needs."""

    credentials: Credentials
    endpoint: str
    """Scheme, host and port."""
    region: str
    profile: Profile


def access(where: str, env: Mapping[str, str] | None = None) -> Access:
    """How to reach S3 from here; `where` is the address that it is for."""
    env = os.environ if env is None else env
    settings = _settings(env, where)
    endpoint = _endpoint(env, settings, where)
    named = env.get("COLDSTART_S3_PROFILE")
    if named is not None and named not in profiles.PROFILES:
        raise StorageError(
            f"there is no store profile {named!r}",
            where="COLDSTART_S3_PROFILE",
            fix=f"Choose one of {', '.join(profiles.PROFILES)}, or leave it unset.",
        )
    profile, guessed = profiles.of_endpoint(endpoint, named)
    told = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or settings.get("region")
    # A region in the endpoint is the store's own word; one in the environment may be meant for another store.
    in_host = profile.host is not None and "region" in profile.host and endpoint is not None
    region = guessed if in_host or profile is profiles.R2 or not told else told
    return Access(
        credentials=credentials(env, where, settings=settings),
        endpoint=endpoint or f"https://s3.{region}.amazonaws.com",
        region=region,
        profile=profile,
    )


def credentials(
    env: Mapping[str, str], where: str, *, settings: Mapping[str, str] | None = None
) -> Credentials:
    """The key pair, from the first place that has one."""
    if env.get(KEY_ID) or env.get(SECRET):
        return _pair(env.get(KEY_ID), env.get(SECRET), env.get(TOKEN), KEY_ID, SECRET, "the environment")
    settings = _settings(env, where) if settings is None else settings
    by_role = _ELSEWHERE & settings.keys() or env.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if not by_role and (settings.get("aws_access_key_id") or settings.get("aws_secret_access_key")):
        return _pair(
            settings.get("aws_access_key_id"),
            settings.get("aws_secret_access_key"),
            settings.get("aws_session_token"),
            "aws_access_key_id",
            "aws_secret_access_key",
            settings["came from"],
        )
    return _from_boto3(where)


def _pair(  # noqa: PLR0913, PLR0917 - a pair, its token, and how each is called where it was found
    key_id: str | None, secret: str | None, token: str | None, id_name: str, secret_name: str, came_from: str
) -> Credentials:
    for name, value, other in ((id_name, key_id, secret_name), (secret_name, secret, id_name)):
        if not value:
            raise StorageError(
                f"half a pair of S3 credentials: {other} is set and {name} is not",
                where=came_from,
                fix=f"Set {KEY_ID} and {SECRET} both, or AWS_PROFILE.",
            )
        if value != value.strip() or value[0] in "\"'" or not value.isascii() or not value.isprintable():
            raise StorageError(
                f"{name} has a space, a line break, a quote or something else in it that no key has",
                where=came_from,
                fix=f"Copy {name} again, without what stands around it.",
            )
    return Credentials(key_id=key_id or "", secret=secret or "", token=token or None, came_from=came_from)


def _from_boto3(where: str) -> Credentials:
    try:
        import boto3  # noqa: PLC0415 - heavy, and an extra
        from botocore import exceptions  # noqa: PLC0415 - as above
    except ImportError as absent:
        raise StorageError(
            "S3 credentials are neither in the environment nor in a file, and boto3, which knows other ways, "
            "is not installed",
            where=where,
            fix=f"Set {KEY_ID} and {SECRET}; for roles and single sign-on: pip install 'coldstart-sdk[s3]'",
        ) from absent
    try:
        found = boto3.session.Session().get_credentials()
        frozen = None if found is None else found.get_frozen_credentials()
    except exceptions.ProfileNotFound as unknown:
        raise StorageError(
            str(unknown), where="AWS_PROFILE", fix="Name a profile of ~/.aws/config, or unset AWS_PROFILE."
        ) from unknown
    except exceptions.BotoCoreError as refused:
        raise StorageError(
            f"S3 credentials could not be had: {type(refused).__name__}",
            where=where,
            fix=f"Renew them (aws sso login), or set {KEY_ID} and {SECRET}.",
        ) from refused
    if frozen is None or not frozen.access_key or not frozen.secret_key:
        raise StorageError(
            "there are no complete S3 credentials",
            where=where,
            fix=f"Set {KEY_ID} and {SECRET}, or AWS_PROFILE.",
        )
    return Credentials(
        key_id=frozen.access_key,
        secret=frozen.secret_key,
        token=frozen.token,
        came_from=f"boto3 ({found.method})",
    )


def _endpoint(env: Mapping[str, str], settings: Mapping[str, str], where: str) -> str | None:
    told = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or settings.get("endpoint_url")
    if not told:
        return None
    told = told.strip().rstrip("/")
    if not re.fullmatch(r"https?://[^/@\s]+", told):
        raise StorageError(
            "AWS_ENDPOINT_URL is no address of a store",
            where=where,
            fix="Write it as https://host, with https:// before and without the bucket after it.",
        )
    return told


def _settings(env: Mapping[str, str], where: str) -> dict[str, str]:
    """What the two files say about the profile in use, the credentials file first."""
    profile = env.get("AWS_PROFILE") or "default"
    home = Path(env.get("HOME") or "~").expanduser()
    kept = Path(env.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials").expanduser()
    config = Path(env.get("AWS_CONFIG_FILE") or home / ".aws" / "config").expanduser()
    in_config = profile if profile == "default" else f"profile {profile}"
    found: dict[str, str] = {}
    for file, section in ((config, in_config), (kept, profile)):
        if read := _section(file, section):
            found |= {**read, "came from": f"{file} [{section}]"}
    has_pair = env.get(KEY_ID) and env.get(SECRET)
    if not found and env.get("AWS_PROFILE") and not has_pair:
        raise StorageError(
            f"there is no profile {profile!r} in ~/.aws",
            where=where,
            fix="Name a profile of ~/.aws/config, or unset AWS_PROFILE.",
        )
    return found


def _section(file: Path, section: str) -> dict[str, str] | None:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    import configparser  # noqa: PLC0415 - only where there is such a file

    read = configparser.RawConfigParser(strict=False)
    try:
        read.read_string(text)
    except configparser.Error as misread:
        raise StorageError(
            f"it cannot be read: {type(misread).__name__}", where=str(file), fix="Mend that file."
        ) from misread
    return dict(read.items(section)) if read.has_section(section) else None

"""The operator's own provider: what an authorization is of that is made without saying anything."""

from typing import Final

import msgspec

from shared.authorizations.kinds import AuthorizationCode, StoredCode
from shared.authorizations.kinds import Config as AuthorizationConfig
from shared.config import Config
from shared.errors import StepFailedError

#: The settings that there must be for it.
NEEDED: Final = (
    "EDGEWISE_OAUTH2_BASE_URL",
    "EDGEWISE_OAUTH2_AUTHORIZE_URL",
    "EDGEWISE_OAUTH2_TOKEN_URL",
    "EDGEWISE_OAUTH2_CLIENT_ID",
)
OperatorProvider = StoredCode


def operator_provider(config: Config) -> OperatorProvider | None:
    """The provider of the settings, None if there is none."""
    if not config.oauth2_client_id:
        return None
    return StoredCode(
        base_url=config.oauth2_base_url,
        authorize_url=config.oauth2_authorize_url,
        token_url=config.oauth2_token_url,
        client_id=config.oauth2_client_id,
        client_secret=config.oauth2_client_secret or None,
        scopes=config.oauth2_scopes,
        audience=config.oauth2_audience or None,
        client_auth=config.oauth2_client_auth,
        provider=config.oauth2_provider,
        from_settings=True,
    )


def without_secret(provider: OperatorProvider) -> AuthorizationCode:
    """What is stored of it: all but the secret, which is read from the settings each time."""
    return msgspec.structs.replace(provider, client_secret=None)


def completed(config: AuthorizationConfig, provider: OperatorProvider | None) -> AuthorizationConfig:
    """A stored configuration with the secret that stands in the settings.

    Raises:
        StepFailedError: if the settings name another client or another provider by now.
    """
    if not isinstance(config, StoredCode) or not config.from_settings:
        return config
    if provider is None or (provider.client_id, provider.token_url) != (config.client_id, config.token_url):
        message = (
            "The provider of this authorization is no longer that of the settings EDGEWISE_OAUTH2_*; authorize anew."
        )
        raise StepFailedError("token_refused", message)
    return msgspec.structs.replace(config, client_secret=provider.client_secret)

"""Every code the service can give, and what to do about it: the text of ``/errors/{code}``.

A test collects the codes from the sources and holds them against this table.
"""

from collections.abc import Mapping
from typing import Final

#: Codes of whole answers (``code``).
ERRORS: Final[Mapping[str, str]] = {
    "address_not_allowed": (
        "The webhook takes requests from the addresses in its trigger's allowed_ips, and this one came from another. "
        "Behind a proxy the operator lists it in EDGEWISE_TRUSTED_PROXIES."
    ),
    "already_answered": (
        "The step behind this link has its answer, and takes no second one. An answer that was sent twice counts once."
    ),
    "api_key_not_allowed": (
        "An API key starts workflows, synchronously and by events too, and does nothing else. Use a JWT with the scope "
        "of this route; docs/vault.md says more."
    ),
    "authorization_unreadable": (
        "The authorization was encrypted under a key that EDGEWISE_VAULT_KEYS does not list, or its row was altered. "
        "The operator puts the key back into the ring; or make another authorization."
    ),
    "backlog_full": (
        "So many runs are open, in the installation or in the workspace, that new ones would only wait. The message "
        "says which limit it is. Nothing was started. Repeat the request after the number of seconds in Retry-After."
    ),
    "bad_request": "The request could not be read: its framing, its coding or its headers are broken.",
    "body_too_large": "The body has more bytes than this route takes. The message names the limit.",
    "consent_failed": (
        "A person consented, and the provider gave no token for it. The message says what the provider told. "
        "Start again from a new authorization_url."
    ),
    "consent_refused": (
        "The provider sent the person back without a consent: they declined, or the request does not suit the provider."
        " Start again from a new authorization_url."
    ),
    "consent_unknown": (
        "Nobody waits for this consent: its link was used already, is older than ten minutes, or was changed on its "
        "way. Start again from a new authorization_url."
    ),
    "database_busy": (
        "The database works, and could not do this now: locks or time-outs were in the way. Nothing was changed. "
        "Repeat the request."
    ),
    "database_unavailable": (
        "The database did not answer in time. Repeat the request after the number of seconds in Retry-After. A request "
        "that was under way may have been carried out; with an Idempotency-Key a repeat finds it."
    ),
    "delivery_not_whole": (
        "Only a delivery whose request was kept whole and could be read can be replayed. Requests are kept up to "
        "bounds for each webhook, so that strangers cannot fill the disk."
    ),
    "duplicate_key": (
        "A key stands more than once in an object of the body, and all but one of its values would be lost. errors "
        "names each of them; nothing was stored."
    ),
    "event_too_large": (
        "The event would start so many runs with so large a payload that they have more bytes together than it may. "
        "Nothing was started; send a smaller payload, such as a reference."
    ),
    "filters_too_slow": (
        "The filters of the workflows that listen to this event take too long together. Nothing was started."
    ),
    "handshake_invalid": (
        "A question whether the URL is the asker's own was not of the form in which Slack or Microsoft Graph ask it."
    ),
    "idempotency_in_progress": (
        "Another request with the same Idempotency-Key is under way. Repeat this one in a moment."
    ),
    "idempotency_key_reused": (
        "An Idempotency-Key belongs to one request. This one was used with another body in the last 24 hours: take a "
        "fresh key."
    ),
    "ingest_busy": (
        "More triggers come in than this process can store now. Nothing was started. Repeat the request after "
        "the number of seconds in Retry-After."
    ),
    "internal_error": (
        "Something broke in the service, and it is not the request's fault. The service's log tells more under the "
        "request id of the answer (X-Request-Id)."
    ),
    "invalid_event_name": "An event has a name of 1 to 128 letters, digits, dots, colons, hyphens and underscores.",
    "invalid_idempotency_key": "An Idempotency-Key is a text of 1 to 255 printable ASCII characters, such as a UUID.",
    "invalid_input": (
        "The workflow's trigger has an input_schema, and the context does not fit it. errors lists every fault. "
        "Nothing was started."
    ),
    "invalid_parameter": (
        "A query parameter is unknown, given twice or not legal. errors names each of them and its rule."
    ),
    "json_too_deep": "The body is JSON whose arrays and objects nest deeper than the service reads.",
    "link_not_found": (
        "There is no question behind this link: it was cut or changed on its way, or its run was removed since."
    ),
    "malformed_body": "The body is not what its Content-Type says.",
    "malformed_json": "The body is not JSON. The message names the line and the column where reading stopped.",
    "method_not_allowed": "The path exists, and not with this method. The header Allow lists those it is served with.",
    "no_consent": (
        "Only an authorization of the kind oauth2_authorization_code waits for a person's consent; this one is none."
    ),
    "no_response_node": (
        "Nothing in the workflow answers a synchronous request: it needs a text_transform with is_response true "
        "outside iterators, or a terminate node."
    ),
    "no_webhook": "The workflow's trigger is no webhook_trigger, so it has no webhook URL and takes no deliveries.",
    "node_not_resumable": (
        "A run goes on behind a node that completed successfully and that lies outside iterators; this one is none. "
        "The message says why, and which nodes are."
    ),
    "not_found": (
        "There is no such thing in the workspace of the token: the id is wrong, the thing was deleted, or it "
        "belongs to "
        "another workspace."
    ),
    "nothing_to_resume": (
        "Every node of the run has ended, and nothing comes behind the one to resume from. Take an earlier node."
    ),
    "object_expected": "The body is JSON, and not an object. This route takes an object: {...}.",
    "precondition_failed": (
        "The thing has changed since it was read: its ETag is not the one of If-Match. Read it again, make the change "
        "again, and repeat."
    ),
    "provider_not_configured": (
        "An authorization without a body is one of the installation's own OAuth2 provider, and the settings name none. "
        "The message lists them; docs/authorizations.md says more."
    ),
    "provider_unavailable": (
        "The OAuth2 provider could not be reached, or is in trouble. Load the same URL again after the number of "
        "seconds in Retry-After; ten minutes after the consent was asked for, start again from a new authorization_url."
    ),
    "request_timeout": (
        "The body of the request did not come in the time the message names. Nothing was done. The connection is "
        "closed; repeat the request on another."
    ),
    "route_not_found": "There is nothing at this path. /docs lists what there is.",
    "run_cancelled": (
        "The run that was to answer this request was cancelled before it did, by somebody or by a limit of its "
        "workflow. run_id names it."
    ),
    "run_ended": "The run has ended; only a run that is open can be cancelled. What it did stays as it is.",
    "run_failed": (
        "The run that was to answer this request failed before it did. The message says why, and run_id names it: it "
        "shows which step failed. The service itself is well."
    ),
    "run_not_resumable": (
        "Only a failed or cancelled run can be resumed. One that is open has to end first; one that completed can be "
        "run again as a whole."
    ),
    "run_open": "The run has not ended. Only a run that has ended is run again: cancel it first, or wait for its end.",
    "scope_missing": "The token is valid, and lacks the scope that this route asks for. The message names it.",
    "signature_expired": (
        "The timestamp that the request is signed with is older, or lies further ahead, than the webhook's tolerance. "
        "A request is not sent again as it was: sign it afresh. Or a clock is wrong."
    ),
    "signature_missing": (
        "The webhook asks for a signature of the scheme in its trigger's data, and none could be read."
    ),
    "signature_wrong": (
        "The signature of the request does not fit its body and the secret of the webhook: another secret signed it, "
        "or the body was changed on its way."
    ),
    "stopping": (
        "The process that waited for the run's answer stops. The run goes on; run_id names it. With an "
        "Idempotency-Key a repeat waits for the same run."
    ),
    "sync_timeout": (
        "The run has not answered in time. It goes on; run_id names it. With an Idempotency-Key a repeat waits for the "
        "same run."
    ),
    "test_not_started": "No process could be started to test the node in. Nothing was called; come back.",
    "token_expired": "The token's time (exp) is over. Get a new one.",
    "token_invalid": (
        "The token is no JWT that is trusted here: its signature, algorithm, issuer, audience or claims are not right. "
        "The message says which. Or it is an API key (wfk_...) that does not exist, was deleted or has expired."
    ),
    "token_missing": (
        "This route needs a token in the header Authorization: Bearer <JWT or API key>, or an API key in X-Api-Key."
    ),
    "too_many_listeners": "More workflows listen to this event than one event may start. Nothing was started.",
    "too_many_tests": "As many nodes are being tested as this service allows at a time. Come back.",
    "unknown_component": "A workflow uses a node type that is not installed in this process.",
    "unsupported_media_type": "The Content-Type is none that this route reads.",
    "uri_too_long": "The URL has more bytes than the service reads. The message names the limit.",
    "validation_failed": (
        "The request could be read and breaks rules. errors lists every fault with its path, its code and a sentence; "
        "nothing was stored."
    ),
    "vault_name_taken": "The workspace has a vault item of this name already. Names of vault items are unique.",
    "wait_over": (
        "The step behind this link waits for no answer any more: its time is over, its run has ended, or the run took "
        "another way. Nothing was changed."
    ),
    "webhook_not_found": (
        "No workflow has a webhook with this token: it was mistyped, rotated, or its workflow deleted."
    ),
    "webhook_rate_limit": (
        "More requests came to this webhook than its trigger's rate_limit takes. Nothing was started. Repeat the "
        "request after the number of seconds in Retry-After."
    ),
    "webhook_secret_missing": (
        "The vault item with the secret of the webhook's signature is not there, has expired, or is no such secret. "
        "Nothing was started; the owner of the workflow has to mend it."
    ),
    "webhook_unreadable": (
        "The webhook's configuration was saved by a newer release than this process is of. Repeat the request after "
        "the number of seconds in Retry-After."
    ),
    "workflow_called": (
        "Other workflows call this one, so it can't be deleted. The message names them; take these calls out first."
    ),
    "workflow_inactive": "The workflow is inactive and can't be started. Activate it: PUT with is_active true.",
    "workflow_not_synchronous": (
        "The workflow begins with another trigger than sync_request_trigger, so no request can wait for its answer. "
        "Start it with POST /workflows/{id}/execute."
    ),
    "workspace_missing": "The token is valid, and does not name a workspace in the claim that is configured for it.",
}

#: Codes of single faults (``errors[].code``).
FAULTS: Final[Mapping[str, str]] = {
    "authorization_required": (
        "A node presents the workflow's authorization, and the workflow has none. Give it the id of one in "
        "authorization_id; POST /workflows/authorization makes one."
    ),
    "body_joins_outside": (
        "The body of an iterator is what its handle item leads to. No edge may come into it from outside."
    ),
    "broken_component": "The node type comes from an outside package and broke over this data. The log says where.",
    "cycle": "Edges lead back to where they came from. The message names the cycle; take one of its edges out.",
    "duplicate_id": "Two nodes, or two edges, have the same id. Ids are unique.",
    "duplicate_key": "A key stands more than once in this object. Keep one of them.",
    "edge_into_trigger": "An edge leads into the trigger. Nothing comes before a trigger.",
    "empty_body": "An iterator has no edge from its handle item, so it would do nothing with its items.",
    "given_twice": "A query parameter is given more than once.",
    "handle_required": "The source of this edge has several outputs; the edge must name one in sourceHandle.",
    "invalid_cursor": "A cursor is taken from a Link header and passed on unchanged.",
    "invalid_id": "An id has characters or a length that ids do not have.",
    "invalid_input": "The context does not fit the input_schema of the workflow that is called.",
    "invalid_schedule": "Schedule type, value or time zone are not legal together. The message names the legal forms.",
    "invalid_size": "A list has too few or too many elements.",
    "invalid_type": "A value has another JSON type than the one that stands here.",
    "invalid_value": "A value is not legal here. The message names those that are.",
    "longer_than_installation": "Runs can't be kept for longer than the whole installation keeps them.",
    "no_error_trigger": "The workflow named as error workflow begins with another trigger than error_trigger.",
    "no_template": "This field holds no templates: it must be known before the run.",
    "no_trigger": "None of the nodes is a trigger. A workflow has exactly one.",
    "page_too_deep": "Pages by number reach only the newest runs. Follow links.next, which goes on by cursor.",
    "parameter_missing": "A required field is missing.",
    "required": "Something that must be there is missing.",
    "reserved_handle": "A handle has a name that means something to the engine.",
    "reserved_id": "A node has a name that means something in templates.",
    "schedule_conflict": "The workflow and its trigger both say when it runs, and not the same.",
    "secret_not_allowed": (
        "A template reads the vault where its value would be stored or shown. The message names the fields that may."
    ),
    "setting_not_allowed": "This kind of node does not take this setting.",
    "several_triggers": "More than one of the nodes is a trigger. A workflow has exactly one.",
    "templates_too_large": "The tags and expressions of all templates together are too long.",
    "template_syntax": "A template can't be parsed. The message says where.",
    "too_deep": "Too many iterators stand in one another. Five levels are allowed.",
    "unknown_authorization": "The workspace has no authorization with this id.",
    "unknown_component": "There is no node type with this componentId. The message names the nearest, or all of them.",
    "unknown_field": "A field is not known here. The message names the nearest one and those that are legal.",
    "unknown_handle": "The source of this edge has no output of this name.",
    "unknown_node": "An edge names a node that does not exist.",
    "unknown_reference": "A template names something it can't see: it sees what runs before it, and nothing else.",
    "unknown_vault_item": "The workspace has no vault item of this name. The message names the nearest one.",
    "unknown_workflow": "The workspace has no workflow with this id.",
    "unreachable_node": "No edges lead from the trigger to this node.",
    "workflow_cycle": "Workflows would call one another in a circle, and never end. The message names it.",
    "workflow_not_callable": "The workflow does not begin with a workflow_trigger, so no other workflow can call it.",
}

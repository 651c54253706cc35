"""The safeguards, how each is removed, and the tests that must fail then.

A text to replace must occur exactly once in its file, so that a safeguard that was moved or
reworded is noticed here instead of counting as proven.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One replacement in one file."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """The product without one safeguard. At least one of `tests` fails with it.

    `needs_postgresql` means that its tests are skipped on SQLite.
    """

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    needs_postgresql: bool = False


def _mutant(name: str, path: str, old: str, new: str, *tests: str) -> Mutant:
    return Mutant(name=name, edits=(Edit(path=path, old=old, new=new),), tests=tests)


def _mutant_on_postgresql(name: str, path: str, old: str, new: str, *tests: str) -> Mutant:
    return replace(_mutant(name, path, old, new, *tests), needs_postgresql=True)


def _without_permission(path: str, old: str, act: str) -> Mutant:
    test = f"{SAFEGUARDS}::test_the_service_itself_refuses_people_without_permission[{act}]"
    return _mutant(f"permission to {act}", path, old, "    pass\n", test)


SAFEGUARDS = "tests/repository/test_safeguards.py"
TRANSPORT = "connections/net/http.py"
A_ROW_ON_ITS_OWN_PAGE = (
    "tests/web/batches/test_pages.py::test_a_row_is_decided_on_the_page_of_its_bulk_deletion"
)
LANES = "connections/net/connection.py"
CONFIRMATION_TEXT = "tests/deletions/test_confirmation_text.py"
SENDING = "connections/deletions/sending.py"
RECORDING = "connections/deletions/recording.py"
STATE_AS_READ = '    "state",\n    "epoch",\n'
EPOCH_AS_READ = '    "epoch",\n    # When two'
TRANSITIONS = "connections/deletions/states.py"
DELETIONS = "connections/deletions/lifecycle.py"
RULES = "connections/migrations/0002_database_rules.py"
TRIGGERS = "connections/models/triggers.py"
VERIFIER = "connections/verifier"
DETECTION = "connections/changes/detection.py"
LOSSES = "connections/changes/losses.py"
CHANGES = "tests/changes"
RECREATIONS = f"{CHANGES}/test_recreations.py"
FAILING = f"{CHANGES}/test_failing_credentials.py"
SCENARIOS = f"{CHANGES}/test_scenarios.py::test_a_scenario_reports"
INCOMPLETE = (
    f"{CHANGES}/test_scenarios.py"
    "::test_incomplete_syncs_report_nothing_and_the_next_complete_ones_report_it_once"
)

NETWORK = (
    _mutant(
        "allow_redirects=False",
        TRANSPORT,
        "                allow_redirects=False,\n",
        "",
        f"{SAFEGUARDS}::test_a_redirect_is_not_followed_even_by_a_session_that_sees_it",
    ),
    _mutant(
        "adding an org's keys again can't bypass an access list",
        "connections/credentials/key_checks.py",
        "    if report.owner and not credential.org_id:\n        access_lists",
        "    if False:\n        access_lists",
        "tests/credentials/test_inherited_access.py::test_another_credential_of_an_org_starts_with_the_access_lists_of_the_first",
    ),
    _mutant(
        "keys that Datadog rejects are not stored",
        "connections/credentials/lifecycle.py",
        "    if rejection := report.rejection:\n",
        "    if (rejection := report.rejection) and False:\n",
        "tests/credentials/test_adding.py::test_rejected_keys_are_not_stored_and_the_error_names_the_key",
    ),
    _mutant(
        "an import stores only what verifies",
        "connections/credentials/imports.py",
        "        if failure := report.failure:\n",
        "        if (failure := report.failure) and False:\n",
        "tests/credentials/test_imports.py::test_a_line_that_does_not_verify_is_not_stored_and_affects_no_other",
    ),
    _mutant(
        "files are refused where no URL accepts one",
        "connections/web/framework/middleware.py",
        'raise TooManyFilesSent("This URL accepts no files.")',
        "super().new_file(*args, **kwargs)",
        "tests/web/hardening/test_bodies.py::test_a_file_upload_is_refused_everywhere",
    ),
    _mutant(
        "the body of an import goes to no temporary file",
        "orgadmin/web_server.py",
        'and self.path == reverse("credential-import")',
        "and not self.path",
        "tests/orgadmin/test_web_server.py::test_the_body_of_an_import_alone_stays_in_memory_whatever_its_size",
    ),
    _mutant(
        "permission to import credentials",
        "connections/credentials/imports.py",
        'permissions.require(permissions.can_manage_credentials(actor), "import credentials")',
        "pass",
        "tests/credentials/test_imports.py::test_only_credential_managers_import",
    ),
    _mutant(
        "an access token is never sent beside the other headers",
        "connections/core/datadog_keys.py",
        'return {"Authorization": Secret(f"Bearer {self.access_token.reveal()}")}',
        'return {"Authorization": Secret(f"Bearer {self.access_token.reveal()}"), "DD-API-KEY": '
        "self.access_token}",
        "tests/datadog/test_access_tokens.py::test_a_token_is_sent_as_bearer_and_never_beside_the_other_headers",
    ),
    _mutant(
        "an incomplete sync reports no change",
        DETECTION,
        "    if sync.is_complete and not is_outdated:\n",
        "    if not is_outdated:\n",
        f"{INCOMPLETE}[types_changed-one credential]",
        f"{INCOMPLETE}[recreated-both sides]",
    ),
    _mutant(
        "a removal waits for the other credentials that list the connection",
        LOSSES,
        " and not observers.awaits_sync(row)",
        "",
        f"{SCENARIOS}[only one side lacks it so far]",
    ),
    _mutant(
        "a failed sync confirms no removal",
        LOSSES,
        "            or listing.credential_id in self._that_count\n",
        "",
        f"{FAILING}::test_the_removal_waits_while_a_credential_fails",
        f"{FAILING}::test_one_failure_after_a_day_without_syncs_is_not_a_day_of_failures",
    ),
    _mutant(
        "a credential that fails for 24 hours delays no removal any longer",
        LOSSES,
        "        Exists(recent.filter(is_complete=True)) | Q(was_complete=True)\n",
        "        Q()\n",
        f"{FAILING}::test_after_24_hours_it_is_reported_with_the_credential_that_was_not_checked",
    ),
    _mutant(
        "exports name the credentials that a removal was not checked with",
        "connections/changes/export.py",
        '        "not_checked": lambda row: row.not_checked_by,\n',
        "",
        f"{FAILING}::test_every_list_export_and_message_names_it",
    ),
    _mutant(
        "a baseline hides no connection that was created since another credential was synced",
        DETECTION,
        "self.is_baseline and shown.connection_id not in lacked_at",
        "self.is_baseline",
        f"{CHANGES}/test_new_credentials.py::test_a_connection_created_since_another_credential_was_synced_is_reported",
        f"{CHANGES}/test_model.py::test_changes_add_up",
    ),
    _mutant(
        "a new credential that lists more reports nothing old",
        DETECTION,
        "if created_at and created_at > at - clock.TOLERANCE",
        "if created_at",
        f"{CHANGES}/test_new_credentials.py::test_a_credential_that_lists_more_reports_nothing_old",
    ),
    _mutant(
        "data types about which lists contradict each other are reported once",
        "connections/changes/known.py",
        "[name for name in known.connection_types if name in types]",
        "[]",
        f"{SCENARIOS}[only one side shows another type]",
        f"{CHANGES}/test_model.py::test_changes_add_up",
    ),
    _mutant(
        "a removal is not explained by a refused DELETE",
        LOSSES,
        '_MIGHT_HAVE_DELETED = ("", ',
        '_MIGHT_HAVE_DELETED = ("", AttemptResult.REFUSED, ',
        f"{CHANGES}/test_details.py::test_a_removal_is_ours_only_if_our_delete_can_have_caused_it",
    ),
    _mutant(
        "a new connection between two orgs replaces one that another credential still lists",
        DETECTION,
        "and (not other.is_present or self._replaces(shown, other))",
        "and not other.is_present",
        f"{RECREATIONS}::test_recreated_between_the_requests_of_one_round",
        f"{RECREATIONS}::test_recreated_where_no_credential_lists_both",
    ),
    _mutant(
        "an older connection in a late sync ends no newer one",
        DETECTION,
        "and (not other.is_present or self._replaces(shown, other))",
        "",
        f"{RECREATIONS}::test_a_late_sync_that_shows_an_older_connection_removes_no_newer_one",
    ),
    _mutant(
        "a baseline hides no recreated pair",
        DETECTION,
        "        return self.is_baseline or not self._is_newer_than(other.last_shown_at)",
        "        return not self._is_newer_than(other.last_shown_at)",
        f"{RECREATIONS}::test_a_baseline_leaves_a_recreated_pair_to_the_next_sync",
    ),
    _mutant(
        "a DELETE after which the connection was still listed explains no removal",
        LOSSES,
        "    return row.last_shown_at <= listed_until or ",
        "    return True or ",
        f"{RECREATIONS}::test_a_delete_after_which_it_was_still_listed_caused_nothing",
    ),
    _mutant(
        "a DELETE that was sent after a removal doesn't explain it",
        LOSSES,
        "    if gone_by and attempt.claimed_at > gone_by + MAX_SYNC_TIME:\n        return False\n",
        "",
        f"{RECREATIONS}::test_a_delete_that_was_sent_after_the_removal_did_not_cause_it",
    ),
    _mutant(
        "a sync that overlapped another undoes no change",
        DETECTION,
        "        return established_at <= self.at or ",
        "        return True or ",
        f"{CHANGES}/test_details.py::test_an_overlapping_sync_is_caught_up_by_the_next",
    ),
    _mutant(
        "changes are append-only",
        RULES,
        "        *append_only(vendor, CHANGE, NEW_CHANGE, ACKNOWLEDGES),\n",
        "",
        f"{CHANGES}/test_services.py::test_the_database_refuses_to_change_what_was_detected",
    ),
    _mutant(
        "changes that access lists hide are not listed",
        "connections/changes/changes.py",
        "visibility.visible_changes(matching_changes(filters), actor=actor)",
        "matching_changes(filters)",
        f"{CHANGES}/test_services.py::test_what_access_lists_hide_is_missing_everywhere",
    ),
    _mutant(
        "changes that access lists hide can't be acknowledged",
        "connections/changes/acknowledgement.py",
        "    _require_visible(change_ids, actor=actor)\n",
        "",
        f"{CHANGES}/test_services.py::test_what_access_lists_hide_is_missing_everywhere",
    ),
    _mutant(
        "permission to acknowledge changes",
        "connections/changes/acknowledgement.py",
        'permissions.require(permissions.can_acknowledge(actor), "acknowledge changes")',
        "pass",
        f"{CHANGES}/test_services.py::test_who_can_acknowledge",
    ),
    _mutant(
        "names of orgs are only text for Slack",
        "connections/notifications/messages.py",
        '.replace("<", "&lt;")',
        "",
        f"{CHANGES}/test_notifications.py::"
        "test_names_from_outside_are_only_text_for_slack_and_one_line_in_mail",
    ),
    _mutant(
        "redirects are not even prepared",
        LANES,
        "    def get_redirect_target(",
        "    def get_no_redirect_target(",
        "tests/datadog/test_bodies.py::test_a_gzip_bomb_does_not_fill_the_memory",
    ),
    _mutant(
        "trust_env=False",
        LANES,
        "        self.trust_env = False\n",
        "",
        "tests/datadog/test_reuse.py::test_the_environment_changes_nothing",
    ),
    _mutant(
        "retries=0",
        LANES,
        "max_retries=0)",
        "max_retries=1)",
        "tests/datadog/test_ambiguous.py",
        "tests/datadog/test_reuse.py",
    ),
    _mutant(
        "the deadline",
        "connections/net/connection.py",
        "        self._timer.start()\n",
        "        pass\n",
        "tests/datadog/test_ambiguous.py::test_a_dripped_body_ends_at_the_deadline",
        "tests/datadog/test_ambiguous.py::test_a_dripped_status_line_ends_at_the_deadline",
    ),
    _mutant(
        "no cookies",
        LANES,
        "        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))\n",
        "",
        "tests/datadog/test_reuse.py::test_a_cookie_is_never_sent_back",
    ),
    Mutant(
        name="certificates are verified",
        edits=(
            Edit(
                path=LANES,
                old="    context.minimum_version = ssl.TLSVersion.TLSv1_2\n",
                new="    context.check_hostname = False\n    context.verify_mode = ssl.CERT_NONE\n",
            ),
            Edit(
                path=LANES,
                old='        conn.cert_reqs = "CERT_REQUIRED"\n',
                new='        conn.cert_reqs = "CERT_NONE"\n',
            ),
        ),
        tests=("tests/datadog/test_not_sent.py::test_an_untrusted_certificate_is_not_sent",),
    ),
    _mutant(
        "a bound on the decompressed body",
        TRANSPORT,
        "decoder.decompress(chunk, limit - len(body.content))",
        "decoder.decompress(chunk)",
        "tests/datadog/test_bodies.py::test_a_gzip_bomb_does_not_fill_the_memory",
    ),
    _mutant(
        "a 404 must be Datadog's own",
        "connections/datadog/responses.py",
        "    if status == 404 and has_errors_list:\n        return AttemptResult.NOT_FOUND",
        "    if status == 404:\n        return AttemptResult.NOT_FOUND",
        "tests/datadog/test_statuses.py::test_a_404_of_another_form_is_ambiguous",
    ),
    _mutant(
        "addresses of people are dropped",
        "connections/datadog/payloads.py",
        '        user_name=_text(user.get("name")),',
        '        user_name=_text(user.get("email")),',
        "tests/datadog/test_identity.py",
    ),
)

RECORD = (
    _mutant(
        "erasing a person replaces their name beside every reference to them",
        "connections/people/erasure.py",
        'and f"{name}_name" in fields:',
        'and name == "approver":',
        "tests/audit/test_erasing.py"
        "::test_a_name_that_others_have_is_erased_beside_a_reference_to_the_person",
    ),
    _mutant(
        "a reason has text that an auditor can read",
        "connections/core/typed_text.py",
        '    if not has_visible_text(text) or "\\0" in text:\n',
        "    if False:\n",
        "tests/core/test_typed_text.py::test_a_reason_that_no_one_could_read_or_store_is_refused",
    ),
    _mutant(
        "break glass needs a reason that an auditor can read",
        "connections/deletions/break_glass.py",
        "too_short if is_short else find_text_problem(reason, missing=too_short)\n",
        "too_short if is_short else None\n",
        "tests/deletions/approvals/test_break_glass.py"
        "::test_it_needs_a_longer_reason_and_says_that_nothing_was_sent",
    ),
    _mutant(
        "a decline needs a reason",
        "connections/deletions/approvals.py",
        "    reason = clean_text(reason, missing=NO_REASON_TO_DECLINE)\n",
        "    reason = reason.strip()\n",
        "tests/flows/test_follow_up.py::test_declining_needs_a_reason_and_closes_the_deletion",
    ),
    _mutant(
        "durable=True of the claim",
        SENDING,
        "    with audit.atomic(durable=True):\n        # Locked before credentials",
        "    with audit.atomic():\n        # Locked before credentials",
        f"{SAFEGUARDS}::test_a_claim_inside_another_transaction_is_refused",
    ),
    _mutant(
        "claimed before it is sent",
        SENDING,
        "    began_at = time.monotonic()\n",
        "    began_at = time.monotonic()\n"
        "    send_claimed(ClaimedAttempt(attempt=Attempt(deletion=deletions[0]), "
        "client=fetching.open_client(credential=deletions[0].credential), began_at=began_at))\n",
        "tests/deletions/test_attempts.py::"
        "test_the_attempt_and_its_event_are_committed_before_the_request_leaves",
    ),
    Mutant(
        name="one open deletion (partial unique constraint)",
        edits=(
            Edit(
                path="connections/migrations/0001_initial.py",
                old='condition=~Q(state="settled"),\n',
                new='condition=Q(state="nothing"),\n',
            ),
            # SQLite needs a trigger beside it, since REPLACE would remove the open one.
            Edit(
                path=RULES,
                old="connection_id = NEW.connection_id AND state <> 'settled'\",\n",
                new="connection_id = NEW.connection_id AND state = 'nothing'\",\n",
            ),
        ),
        tests=(
            "tests/deletions/test_attempts.py::"
            "test_a_second_open_deletion_of_one_connection_is_refused_by_the_database",
        ),
    ),
    _mutant(
        "compare-and-swap on the state",
        TRANSITIONS,
        STATE_AS_READ,
        '    "epoch",\n',
        f"{SAFEGUARDS}::test_what_somebody_else_moved_is_not_moved",
    ),
    _mutant(
        "compare-and-swap on the epoch",
        TRANSITIONS,
        EPOCH_AS_READ,
        "    # When two",
        f"{SAFEGUARDS}::test_what_somebody_else_moved_is_not_moved",
    ),
    _mutant(
        "compare-and-swap on the confirmation",
        TRANSITIONS,
        '    "confirmed_at",\n',
        "",
        f"{SAFEGUARDS}::test_what_somebody_else_moved_is_not_moved",
    ),
    _mutant(
        "a 404 after an ambiguous attempt",
        TRANSITIONS,
        "            outcome = Outcome.GONE_UNATTRIBUTED if was_ambiguous "
        "else Outcome.ALREADY_ABSENT\n",
        "            outcome = Outcome.ALREADY_ABSENT\n",
        "tests/deletions/test_transitions.py::"
        "test_a_404_after_an_ambiguous_attempt_cannot_be_attributed",
        f"{SAFEGUARDS}::test_a_404_after_a_lost_answer_is_not_called_absent_before",
    ),
    _mutant(
        "earlier ambiguous attempts are looked up",
        RECORDING,
        "deletion.attempts.filter(AMBIGUOUS).exclude(pk=attempt.pk).exists()",
        "False",
        f"{SAFEGUARDS}::test_a_404_after_a_lost_answer_is_not_called_absent_before",
    ),
    _mutant(
        "a response is recorded once",
        RECORDING,
        "            if attempt.is_late and _has_response(attempt):\n                continue\n",
        "",
        "tests/faults/crashes/test_saved_responses.py"
        "::test_recording_the_same_response_twice_records_it_once",
    ),
    _mutant(
        "a late answer changes no state",
        RECORDING,
        "    return deletion.epoch != attempt.epoch or deletion.state != State.SENDING\n",
        "    return False\n",
        "tests/deletions/test_attempts.py::test_a_late_response_is_stored_and_changes_no_state",
    ),
    _mutant(
        "an action and its event are one transaction",
        TRANSITIONS,
        "    with audit.atomic(savepoint=False):\n        for compared",
        "    if True:\n        for compared",
        f"{SAFEGUARDS}::test_without_its_event_nothing_moves",
    ),
    _mutant(
        "a salt for each erasable value",
        "connections/audit/personal_data.py",
        "secrets.token_bytes(32)",
        "bytes(32)",
        "tests/audit/test_append_only.py::test_the_same_name_of_two_people_has_two_commitments",
    ),
    _mutant(
        "the requester is notified of a decline",
        "connections/notification_queue/outbox.py",
        "    EventCode.DELETION_DECLINED: _INVOLVED,\n",
        "",
        "tests/notifications/test_outbox.py::"
        "test_the_requester_and_approvers_are_notified_of_the_outcome[deletion.declined]",
    ),
    _mutant(
        "only a complete listing proves absence",
        "connections/deletions/verification.py",
        "    return False if result.is_complete else None\n",
        "    return False\n",
        "tests/flows/test_follow_up.py::test_a_failed_check_leaves_it_unknown_and_shows_the_cause",
    ),
)

REVIEW = (
    _mutant(
        "the confirmation page finds the protection of a listed connection",
        "connections/deletions/confirmations.py",
        "protected.first() if first is None or first.is_protected else None",
        "protected.first() if first is None else None",
        "tests/deletions/test_protected.py"
        "::test_a_request_is_refused_and_says_who_protects_the_connection_and_why",
    ),
    _mutant(
        "the confirmation page finds the protection of a connection that isn't listed",
        "connections/deletions/confirmations.py",
        "protected.first() if first is None or first.is_protected else None",
        "protected.first() if first and first.is_protected else None",
        "tests/deletions/test_protected.py::test_a_connection_that_was_never_seen_can_be_protected",
    ),
    _mutant(
        "the confirmation page finds the open deletion of a listed connection",
        "connections/deletions/confirmations.py",
        "list(requested) if first is None or first.is_requested else []",
        "list(requested) if first is None else []",
        "tests/flows/test_review.py::test_a_review_links_to_the_open_deletion",
    ),
    _mutant(
        "the confirmation page finds the open deletion of a connection that isn't listed",
        "connections/deletions/confirmations.py",
        "list(requested) if first is None or first.is_requested else []",
        "list(requested) if first and first.is_requested else []",
        "tests/flows/test_review.py"
        "::test_a_review_links_to_the_open_deletion_of_a_connection_that_is_no_longer_listed",
    ),
    _mutant(
        "a plan is refused if the list would ignore one of its filters",
        "connections/inventory/filters.py",
        "    if ignored:\n",
        "    if False:\n",
        "tests/web/batches/test_pages.py"
        "::test_a_filter_that_is_not_valid_plans_nothing[protected=maybe]",
    ),
    _mutant(
        "a protected deletion's page asks for no confirmation",
        "connections/web/deletions/detail.py",
        "    if objections.protection:\n",
        "    if False:\n",
        "tests/deletions/test_protected.py"
        "::test_the_page_of_a_protected_deletion_asks_for_no_confirmation",
    ),
    _mutant(
        "the destination is typed where the source has several connections",
        "connections/deletions/confirmations.py",
        "listed.sink_org_name if destinations else listed.source_org_name",
        "listed.source_org_name",
        f"{CONFIRMATION_TEXT}::"
        "test_one_of_several_connections_of_its_source_is_named_by_the_destination",
    ),
    _mutant(
        "a destination of several connections is not typed",
        "connections/deletions/confirmations.py",
        "return name if name and is_unique else end_of_id",
        "return name or end_of_id",
        f"{CONFIRMATION_TEXT}::test_the_id_is_typed_if_two_destinations_share_a_name",
    ),
    _mutant(
        "hidden connections are not counted for the confirmation",
        "connections/deletions/confirmations.py",
        "visibility.visible(others, actor=actor).values_list",
        "others.values_list",
        f"{CONFIRMATION_TEXT}::test_connections_are_counted_as_the_person_sees_them",
    ),
    _mutant(
        "the digest before sending",
        "connections/deletions/verification.py",
        "    is_same = digest == deletion.digest\n",
        "    is_same = bool(digest)\n",
        "tests/flows/test_delete_in_browserless.py::test_a_connection_that_changed_after_review_is_not_deleted",
    ),
    _mutant(
        "the digest of what the page showed",
        DELETIONS,
        "    if digest and digest != target.digest:\n",
        "    if False:\n",
        "tests/flows/test_review.py::test_a_connection_that_changed_since_the_review_is_shown_again",
    ),
    _mutant(
        "the confirmation text of a request",
        "connections/deletions/lifecycle.py",
        "    if not target.needs_approval and not confirmations.confirmation_matches(\n",
        "    if False and not confirmations.confirmation_matches(\n",
        "tests/flows/test_review.py::test_an_invalid_form_shows_the_error_and_keeps_its_input",
    ),
    _mutant(
        "the confirmation text of an execution",
        DELETIONS,
        "    if not confirmations.confirmation_matches(typed=confirmation, expected=expected):\n",
        "    if False:\n",
        "tests/flows/test_follow_up.py::"
        "test_a_wrong_confirmation_of_an_approved_deletion_keeps_the_input",
    ),
    _mutant(
        "permissions are read again before sending",
        SENDING,
        "    credential = deletions[0].credential\n    if credential.is_retired:\n",
        "    return clock.now()\n"
        "    credential = deletions[0].credential\n    if credential.is_retired:\n",
        "tests/deletions/test_due.py::"
        "test_a_waiting_deletion_is_not_sent_after_its_requester_lost_the_permission",
        "tests/deletions/test_attempts.py::test_a_retired_credential_sends_nothing",
    ),
    _mutant(
        "only a failed pre-send check can be skipped",
        DELETIONS,
        "    skip_recheck = skip_recheck and deletion.cause == Cause.LISTING_FAILED\n",
        "",
        "tests/deletions/test_choices.py::test_the_pre_send_check_cannot_be_skipped_at_will",
    ),
    _mutant(
        "permissions are read again at the claim",
        SENDING,
        "        if isinstance(now, BlockedError):\n            raise now\n",
        "        if isinstance(now, BlockedError):\n            now = clock.now()\n",
        "tests/deletions/test_choices.py::test_a_permission_lost_during_the_pre_send_check_sends_nothing",
    ),
    _mutant(
        "permission to request",
        "connections/deletions/confirmations.py",
        "    permissions.require(\n"
        "        permissions.can_use(actor, credential_id=credential.pk),"
        ' "delete connections with it"\n    )\n',
        "",
        f"{SAFEGUARDS}::test_the_service_itself_refuses_people_without_permission[request]",
    ),
    _mutant(
        "permission to execute",
        DELETIONS,
        "    permissions.require(\n"
        "        permissions.can_use(actor, credential_id=deletion.credential_id),\n"
        '        "delete connections with it",\n    )\n    now = clock',
        "    now = clock",
        f"{SAFEGUARDS}::test_the_service_itself_refuses_people_without_permission[execute]",
    ),
    _without_permission(
        "connections/deletions/reconciliation.py",
        "    permissions.require(\n"
        "        permissions.can_use(actor, credential_id=deletion.credential_id),\n"
        '        "check a deletion with Datadog",\n    )',
        "check",
    ),
    _without_permission(
        "connections/deletions/lifecycle.py",
        "    permissions.require(\n"
        "        permissions.can_use(actor, credential_id=deletion.credential_id), "
        '"close a deletion"\n    )',
        "close",
    ),
    _without_permission(
        "connections/deletions/lifecycle.py",
        "    permissions.require(\n"
        '        permissions.can_withdraw(actor, deletion=deletion), "withdraw this deletion"\n'
        "    )",
        "withdraw",
    ),
    _without_permission(
        "connections/deletions/approvals.py",
        "    permissions.require(\n"
        "        permissions.can_approve(actor, deletion=deletion), "
        '"approve or decline this deletion"\n    )\n',
        "approve",
    ),
    _without_permission(
        "connections/deletions/history.py",
        '    permissions.require(permissions.can_see(actor), "see the history")',
        "look",
    ),
    _without_permission(
        "connections/deletions/history.py",
        '    permissions.require(permissions.can_see(actor), "see the chart of deletions")\n',
        "count",
    ),
    _without_permission(
        "connections/deletions/export.py",
        '    permissions.require(permissions.can_export(actor), "export deletions")',
        "export",
    ),
    _without_permission(
        "connections/deletions/comments.py",
        '    permissions.require(permissions.can_comment(actor), "comment on deletions")',
        "comment",
    ),
    _mutant(
        "permission to export an access review",
        "connections/access_reviews/export.py",
        "    permissions.require(permissions.can_manage_access_reviews(actor), ",
        "    str(",
        "tests/access_reviews/test_export.py"
        "::test_only_people_who_manage_access_reviews_export_one",
    ),
    _without_permission(
        "connections/evidence/bundles.py",
        '    permissions.require(permissions.can_audit(actor), "make an evidence bundle")',
        "bundle",
    ),
)

FORGERIES = "tests/evidence/test_forgeries.py"
REVIEW_EVIDENCE = "tests/evidence/test_access_reviews.py"
PLAN_EVIDENCE = "tests/evidence/test_plans.py"
REPORT = "tests/evidence/test_report.py"
FOLDING = "tests/evidence/test_folding.py"
BUNDLES = (
    _mutant(
        "bundle: every header of the archive counts",
        f"{VERIFIER}/archive.py",
        "            if head != local_header(name, crc, size):\n",
        '            if head[30:] != name.encode("ascii"):\n',
        "tests/evidence/test_bundle.py::test_a_single_flipped_bit_is_detected_anywhere",
    ),
    _mutant(
        "bundle: its creation is in the audit log",
        f"{VERIFIER}/verification.py",
        "            require(root == self.root, ",
        "            require(root, ",
        f"{FORGERIES}::test_a_file_that_contradicts_the_others_is_named[an event's words]",
    ),
    _mutant(
        "bundle: a row agrees with its events",
        f"{VERIFIER}/verification.py",
        'next(differences(rows, fold(events)), "") or ',
        "",
        f"{FOLDING}::test_each_column_of_a_deletion_its_attempts_and_approvals_counts",
    ),
    _mutant(
        "folding: a row that no event records is found",
        f"{VERIFIER}/folding.py",
        "        if name not in folded:\n",
        "        if name not in folded and False:\n",
        f"{FOLDING}::test_an_empty_value_counts_as_missing_and_false_does_not",
    ),
    _mutant(
        "folding: a missing row is found",
        f"{VERIFIER}/folding.py",
        "    for name in sorted(rows.keys() | folded.keys()):\n",
        "    for name in sorted(rows.keys()):\n",
        f"{FOLDING}::test_an_empty_value_counts_as_missing_and_false_does_not",
    ),
    _mutant(
        "folding: the value false is not a missing one",
        f"{VERIFIER}/folding.py",
        '_EMPTY: tuple[Any, ...] = (None, "", [], {})',
        '_EMPTY: tuple[Any, ...] = (None, "", [], {}, False)',
        f"{FOLDING}::test_an_empty_value_counts_as_missing_and_false_does_not",
    ),
    _mutant(
        "folding: a protection has its event",
        "connections/inventory/protections.py",
        '                rows={f"protection {protection.pk}": audit.row_of(protection)},\n',
        "",
        f"{FOLDING}::test_each_column_of_a_protection_and_its_removal_counts",
    ),
    _mutant(
        "bundle: nobody decides about their own deletion",
        f"{VERIFIER}/rules.py",
        '        if approval.get("approver_id") == requester:\n',
        "        if False:\n",
        "tests/deletions/approvals/test_evidence.py"
        "::test_a_decision_of_the_requester_about_their_own_deletion_is_detected",
    ),
    _mutant(
        "bundle: each attempt was sent",
        f"{VERIFIER}/rules.py",
        '        yield "its attempts are not those that were sent"\n',
        "        yield from ()\n",
        "tests/deletions/approvals/test_evidence.py"
        "::test_a_response_to_an_attempt_that_was_never_sent_is_detected",
    ),
    _mutant(
        "bundle: an approval is of exactly what was requested",
        f"{VERIFIER}/rules.py",
        '        and event.details.get("digest") == digest\n',
        "",
        "tests/deletions/approvals/test_evidence.py"
        "::test_an_approval_of_something_else_does_not_count",
    ),
    _mutant(
        "bundle: an unknown kind of record isn't skipped",
        f"{VERIFIER}/verification.py",
        "            if kind not in RULES:\n",
        "            if False:\n",
        f"{REPORT}::test_an_unknown_kind_of_record_could_not_be_checked_and_names_the_release",
    ),
    _mutant(
        "bundle: an access review has its population",
        f"{VERIFIER}/verification.py",
        '            rows[_MANY[kind]] = digest_of_rows([row["row"] for row in many])\n',
        "            pass\n",
        f"{REVIEW_EVIDENCE}::test_each_column_of_an_access_review_its_rows_reviewers_and_decisions_counts",
    ),
    _mutant(
        "bundle: an access review has the final states of its closing",
        f"{VERIFIER}/rules.py",
        '.hexdigest() != review.get("closing_digest"):',
        '.hexdigest() == "":',
        f"{REVIEW_EVIDENCE}::test_the_closing_digest_covers_states_appeared_connections_coverage_and_reason",
    ),
    _mutant(
        "bundle: an access review lacks no decision",
        f"{VERIFIER}/rules.py",
        '    if closed and len(rows_named(rows, "decision")) != closed.details.get("decisions"):\n',
        "    if False:\n",
        f"{REVIEW_EVIDENCE}::test_a_replaced_decision_left_out_with_its_event_is_named",
    ),
    _mutant(
        "bundle: only reviewers decide in an access review",
        f"{VERIFIER}/rules.py",
        "        if is_decision and reviewers and event.actor_id not in reviewers:\n",
        "        if False:\n",
        f"{REVIEW_EVIDENCE}::test_a_decision_by_someone_who_is_not_a_reviewer_is_named",
    ),
    _mutant(
        "bundle: a recorded access review is in it",
        f"{VERIFIER}/verification.py",
        "require(is_there == (kind in self.started.details), _NOT",
        "require(True, _NOT",
        f"{REVIEW_EVIDENCE}::test_an_access_review_left_out_with_its_events_is_named",
    ),
    _mutant(
        "bundle: a plan has the digest that was requested",
        f"{VERIFIER}/folding.py",
        '    return {"count": len(rows), "sha256": digest.hexdigest()}\n',
        '    return {"count": len(rows), "sha256": hashlib.sha256(b"").hexdigest()}\n',
        f"{PLAN_EVIDENCE}::test_a_bulk_deletion_is_evidence_from_its_plan_to_its_end",
    ),
    _mutant(
        "bundle: no row of a plan is missing",
        f"{VERIFIER}/rules.py",
        '        if row.get("position") != position:\n',
        "        if False:\n",
        f"{PLAN_EVIDENCE}::test_each_row_of_a_plan_has_its_deletion_or_was_left_out",
    ),
    _mutant(
        "bundle: each row of a plan has a deletion or was left out",
        f"{VERIFIER}/rules.py",
        "        elif not is_sendable and deletion is not None:\n",
        "        elif False:\n",
        f"{PLAN_EVIDENCE}::test_each_row_of_a_plan_has_its_deletion_or_was_left_out",
    ),
    _mutant(
        "bundle: approvals are of this plan",
        f"{VERIFIER}/rules.py",
        '    if any(event.details.get("approval_digest") != digest for event in approved):\n',
        "    if False:\n",
        f"{PLAN_EVIDENCE}::test_an_approval_counts_if_another_person_approved_this_plan_before_the_confirmation",
    ),
    _mutant(
        "bundle: a plan was approved before it was confirmed",
        f"{VERIFIER}/rules.py",
        '    if len(others) < APPROVALS_NEEDED.get(str(batch.get("policy")), 0):\n',
        "    if False:\n",
        f"{PLAN_EVIDENCE}::test_an_approval_counts_if_another_person_approved_this_plan_before_the_confirmation",
    ),
    _mutant(
        "bundle: an approval after the confirmation does not count",
        f"{VERIFIER}/rules.py",
        " for event in approved if event.seq < confirmed.seq}\n",
        " for event in approved}\n",
        f"{PLAN_EVIDENCE}::test_an_approval_counts_if_another_person_approved_this_plan_before_the_confirmation",
    ),
    _mutant(
        "bundle: the requester does not approve a plan",
        f"{VERIFIER}/rules.py",
        '    others = before - {batch.get("requested_by_id")}\n',
        "    others = before\n",
        f"{PLAN_EVIDENCE}::test_an_approval_counts_if_another_person_approved_this_plan_before_the_confirmation",
    ),
    _mutant(
        "bundle: each deletion is of a row of the plan",
        f"{VERIFIER}/rules.py",
        "    if left:\n",
        "    if False:\n",
        f"{PLAN_EVIDENCE}::test_each_row_of_a_plan_has_its_deletion_or_was_left_out",
    ),
    _mutant(
        "bundle: a deletion agrees with its row of the plan",
        f"{VERIFIER}/rules.py",
        '            yield fill("{} has the deletion of something else", what)\n',
        "            yield from ()\n",
        f"{PLAN_EVIDENCE}::test_a_deletion_that_differs_from_its_row_is_named",
    ),
    _mutant(
        "bundle: a plan was confirmed before each attempt",
        f"{VERIFIER}/rules.py",
        "        if self.confirmed is None or self.confirmed.seq > seq:\n",
        "        if self.confirmed is None:\n",
        f"{PLAN_EVIDENCE}::test_people_can_confirm_a_deletion_again_alone_after_the_end",
    ),
    _mutant(
        "bundle: no attempt was made while a bulk deletion was paused",
        f"{VERIFIER}/rules.py",
        '        return approval_round > 1 or state == "running"\n',
        "        return True\n",
        f"{PLAN_EVIDENCE}::test_an_attempt_while_the_bulk_deletion_was_not_running_is_named",
    ),
    _mutant(
        "bundle: no deletion comes after its plan",
        f"{VERIFIER}/verification.py",
        "        require(not self.whole, ",
        "        require(True, ",
        f"{PLAN_EVIDENCE}::test_no_deletion_escapes_the_comparison_by_coming_after_the_plan",
    ),
    _mutant(
        "bundle: two deletions do not share a row of a plan",
        f"{VERIFIER}/verification.py",
        "require(row_id not in self._by_row, ",
        "require(True, ",
        f"{PLAN_EVIDENCE}::test_two_deletions_cannot_share_a_row",
    ),
    _mutant(
        "bundle: a plan is the recorded one",
        f"{VERIFIER}/verification.py",
        "require(self.started.details.get(kind) == name, _NOT",
        "require(True, _NOT",
        f"{PLAN_EVIDENCE}::test_a_bundle_of_another_bulk_deletion_than_recorded_is_refused",
    ),
    _mutant(
        "bundle: it says that it lacks a plan",
        f"{VERIFIER}/report.py",
        "    if done.without_plan:\n",
        "    if False:\n",
        f"{PLAN_EVIDENCE}::test_a_bundle_with_another_filter_says_that_the_plan_is_missing",
    ),
    _mutant(
        "bundle: a filtered bulk deletion has no plan",
        "connections/evidence/bundles.py",
        "    if replace(filters, since=None, until=None) != HistoryFilter(batch=batch.pk):\n",
        "    if False:\n",
        f"{PLAN_EVIDENCE}::test_a_bundle_with_another_filter_says_that_the_plan_is_missing",
    ),
    _mutant(
        "bundle: a bulk deletion after the period has no plan",
        "connections/evidence/bundles.py",
        "    return batch if is_after_start and is_before_end else None\n",
        "    return batch if is_after_start else None\n",
        f"{PLAN_EVIDENCE}::test_a_bundle_with_another_filter_says_that_the_plan_is_missing",
    ),
    _mutant(
        "bundle: a draft has no plan",
        "connections/evidence/bundles.py",
        "    if batch is None or batch.requested_at is None:\n        return None\n",
        "    if batch is None:\n        return None\n    batch.requested_at ="
        " batch.requested_at or batch.created_at\n",
        f"{PLAN_EVIDENCE}::test_a_draft_has_no_plan_in_a_bundle",
    ),
    _mutant(
        "bundle: of a closed access review only",
        "connections/evidence/bundles.py",
        "    if not review.is_closed:\n",
        "    if False:\n",
        f"{REVIEW_EVIDENCE}::test_an_open_access_review_has_no_bundle",
    ),
    _mutant(
        "bundle: a value can't end a line of the report",
        f"{VERIFIER}/messages.py",
        "escape(str(value))",
        "str(value)",
        f"{REPORT}::test_a_value_is_one_short_printable_line",
        f"{REPORT}::test_a_forged_manifest_prints_no_verdict_of_its_own",
    ),
    _mutant(
        "bundle: a value in the report is short",
        f"{VERIFIER}/messages.py",
        '    return text if len(text) <= MAX_VALUE_LENGTH else text[:MAX_VALUE_LENGTH] + "…"\n',
        "    return text\n",
        f"{REPORT}::test_a_value_is_one_short_printable_line",
    ),
    _mutant(
        "bundle: missing approvals are not hidden behind other warnings",
        f"{VERIFIER}/verification.py",
        "        return self.unapproved + self.others\n",
        "        return self.others + self.unapproved\n",
        f"{REPORT}::test_it_says_how_many_warnings_it_does_not_print_and_missing_approvals_are_first",
    ),
    _mutant(
        "bundle: the page has only what was verified",
        f"{VERIFIER}/report.py",
        "            verification.run()\n            if options.html:\n",
        "            try:\n                verification.run()\n            finally:\n",
        f"{REPORT}::test_the_page_is_written_only_after_verification_and_overwrites_nothing",
    ),
    _mutant(
        "bundle: no key of small order",
        f"{VERIFIER}/ed25519.py",
        "    if _compress(_add(times_four, times_four)) == _compress(_NEUTRAL):\n",
        "    if not times_four:\n",
        "tests/evidence/test_signatures.py::test_a_key_of_small_order_is_refused",
    ),
    _mutant(
        "bundle: a signature has one encoding",
        f"{VERIFIER}/ed25519.py",
        "    if point is None or s >= _L:\n",
        "    if point is None:\n",
        "tests/evidence/test_signatures.py::test_a_signature_has_one_encoding",
    ),
    _mutant(
        "bundle: read at one moment",
        "connections/evidence/bundles.py",
        "        with bundle_files() as files, consistent_read():\n",
        "        with bundle_files() as files:\n",
        "tests/evidence/test_concurrent_writer.py::test_writers_do_not_wait_and_concurrent_events_are_not_in_the_bundle",
    ),
)

PROTECTED = "tests/deletions/test_protected.py"
LISTS = "tests/credentials/test_access_lists.py"
REACH = "tests/access/test_visibility.py"
ORGS = "tests/inventory/test_orgs.py"
MANAGED = "tests/inventory/test_managed_orgs.py"
WITHIN = (
    _mutant(
        "deletion of a protected connection can't be requested",
        DELETIONS,
        "    protections.require_unprotected(target.protection)\n",
        "",
        f"{PROTECTED}::test_a_request_is_refused_and_says_who_protects_the_connection_and_why",
    ),
    _mutant(
        "a protected connection is not approved",
        "connections/deletions/approvals.py",
        "    protections.require_unprotected(protections.find_protection(deletion.key))\n",
        "",
        f"{PROTECTED}::test_approving_is_refused",
    ),
    _mutant(
        "a protected connection is not sent",
        SENDING,
        "    if protection:\n        text",
        "    if False:\n        text",
        f"{PROTECTED}::test_a_connection_protected_during_the_pre_send_check_is_not_sent",
        f"{PROTECTED}::test_the_worker_closes_a_waiting_deletion_as_not_sent",
    ),
    _mutant(
        "nobody removes their own protection",
        "connections/inventory/protections.py",
        "    require_not_own(protection, actor=actor)\n    permissions.require(",
        "    permissions.require(",
        f"{PROTECTED}::test_not_even_an_administrator_removes_their_own_protection",
    ),
    _mutant(
        "the access list before sending",
        "connections/access/permissions.py",
        "    return filter_by_access_list(\n        people_who_can_delete(), "
        "credential_id=credential_id, kind=AccessKind.USE\n    )\n",
        "    return people_who_can_delete()\n",
        f"{LISTS}::test_leaving_the_list_before_the_worker_sends_stops_the_deletion[use]",
        f"{LISTS}::test_leaving_the_list_during_the_pre_send_check_stops_the_deletion",
    ),
    _mutant(
        "whether there is an access list before sending",
        SENDING,
        'if allowed and allowed[0]["has_access_list"]:',
        "if False:",
        f"{LISTS}::test_leaving_the_list_before_the_worker_sends_stops_the_deletion[use]",
        f"{LISTS}::test_leaving_the_list_during_the_pre_send_check_stops_the_deletion",
    ),
    _mutant(
        "MFA is required of Auditors",
        "connections/access/permissions.py",
        "    return bool(person.roles - {Role.VIEWER})\n",
        "    return bool(person.roles - {Role.VIEWER, Role.AUDITOR})\n",
        "tests/people/test_mfa.py::test_everyone_but_viewers_needs_mfa[edith-True]",
    ),
    _mutant(
        "the access list of approvers",
        "connections/access/permissions.py",
        "        and deletion.credential_id not in visibility_of(actor).unapprovable\n",
        "",
        f"{LISTS}::test_an_unlisted_approver_can_neither_approve_nor_decline",
        f"{LISTS}::test_an_approval_by_a_person_who_left_the_list_no_longer_counts",
    ),
    _mutant(
        "the numbers of the navigation follow access lists",
        "connections/web/framework/navigation.py",
        "    visibility: Visibility\n",
        "    visibility: Visibility = field(compare=False)\n",
        "tests/web/test_navigation.py::test_each_page_counts_for_its_reader_under_the_access_lists_of_that_time",
    ),
    _mutant(
        "the numbers of the navigation follow roles",
        "connections/web/framework/navigation.py",
        "    roles: frozenset[Role]\n",
        "    roles: frozenset[Role] = field(compare=False)\n",
        "tests/web/test_navigation.py::test_a_page_counts_for_the_roles_of_that_time",
    ),
    _mutant(
        "the numbers of the navigation are the reader's",
        "connections/web/framework/navigation.py",
        "    person: Person\n",
        "    person: Person = field(compare=False)\n",
        "tests/web/test_navigation.py::test_two_people_with_the_same_roles_have_numbers_of_their_own",
    ),
    _mutant(
        "access lists limit what is visible",
        "connections/access/visibility.py",
        '    return rows.exclude(**{f"{by}__in": hidden}) if hidden else rows\n',
        "    return rows\n",
        f"{REACH}::test_a_hidden_object_is_not_found_and_the_request_is_recorded",
        f"{REACH}::test_no_list_page_shows_hidden_objects",
    ),
    _mutant(
        "an org is not known from a hidden credential of its own",
        "connections/access/visibility.py",
        "org_id=org_id).exclude(pk__in=hidden)\n",
        "org_id=org_id)\n",
        f"{ORGS}::test_hidden_credentials_are_not_counted_and_their_orgs_not_named",
    ),
    _mutant(
        "an org is not known from a connection that only a hidden credential listed",
        "connections/access/visibility.py",
        "exclude(credential__in=hidden)\n    managing = ",
        "all()\n    managing = ",
        f"{ORGS}::test_hidden_credentials_are_not_counted_and_their_orgs_not_named",
    ),
    _mutant(
        "an org is not known from a hidden credential's managed orgs",
        "connections/access/visibility.py",
        "Exists(managing.exclude(credential__in=hidden))",
        "Exists(managing)",
        f"{MANAGED}::test_orgs_that_only_a_hidden_credential_manages_are_not_named",
    ),
)

KEEPING = (
    _mutant(
        "delivering audit events creates no delivery",
        "connections/exports/events.py",
        'event.details.get("what") != SHIPMENT',
        "True",
        "tests/audit/test_export.py::test_two_log_shippers_do_not_trigger_each_other",
    ),
    _mutant(
        "an interrupted export is recorded",
        "connections/exports/export.py",
        "        if not self._is_over:\n            self._is_over = True\n",
        "        if self._is_over:\n",
        "tests/audit/test_recorded_exports.py::test_a_client_that_disconnects_leaves_an_aborted_export",
    ),
    Mutant(
        name="associated data",
        edits=(
            Edit(
                path="connections/crypto/encryption.py",
                old="            context.associated_data(key_id=key_id),\n",
                new="            None,\n",
            ),
            Edit(
                path="connections/crypto/encryption.py",
                old="= context.associated_data(key_id=envelope.key_id)\n",
                new="= None\n",
            ),
        ),
        tests=("tests/crypto/test_encryption.py::test_a_moved_secret_cannot_be_decrypted",),
    ),
    _mutant(
        "a GET cannot write",
        "connections/web/framework/read_only.py",
        "    if not _is_allowed_query(sql):\n",
        "    if False:\n",
        "tests/web/test_middleware.py::test_a_view_that_writes_during_a_get_raises",
    ),
    _mutant(
        "a page that can show a secret is not compressed",
        "connections/web/framework/middleware.py",
        "if is_file or (access and access.shows_secret):",
        "if is_file:",
        "tests/web/hardening/test_compression.py"
        "::test_a_page_with_a_new_sign_in_link_is_neither_compressed_nor_cached",
    ),
    _mutant(
        "no formula in a CSV",
        "connections/core/tabular.py",
        """return "'" + text if _starts_like_a_formula(text) else text""",
        "return text",
        "tests/inventory/test_list.py::test_no_exported_cell_is_a_formula",
    ),
    _mutant(
        "no backup beside the key ring",
        "connections/operations/backup.py",
        "    if Path(settings.KEYRING_FILE).resolve().is_relative_to(directory.resolve()):\n",
        "    if False:\n",
        "tests/operations/test_backup.py::test_a_backup_next_to_the_key_ring_is_refused",
    ),
    _mutant(
        "the digest of a backup",
        "connections/operations/backup.py",
        "        if (digest.hexdigest(), size) != (manifest.sha256, manifest.size):\n",
        "        if False:\n",
        "tests/operations/test_backup.py::test_an_incomplete_backup_is_refused",
    ),
    _mutant(
        "a restore asks for confirmation before it replaces data",
        "connections/operations/backup.py",
        "    if copy_to is None:\n",
        "    if False:\n",
        "tests/operations/test_backup.py::test_a_database_with_data_is_not_overwritten",
    ),
)

GUARDS, PAGES = (
    "tests/web/reauthentication/test_guards.py",
    "tests/web/reauthentication/test_account_pages.py",
)

REAUTHENTICATION = (
    _mutant(
        "a POST without reauthentication has no effect",
        "connections/web/framework/reauthentication.py",
        "                if _is_reauthenticated(request) or not when(request):\n",
        "                if _is_reauthenticated(request) or True:\n",
        f"{GUARDS}::test_a_guarded_post_without_an_identity_check_does_nothing_and_shows_the_prompt",
    ),
    _mutant(
        "the password is hidden from everything after reauthentication",
        "connections/web/framework/reauthentication.py",
        "    request.POST = form.other_fields  # type: ignore[assignment]\n",
        "    request.session.update(request.POST.dict())\n",
        "tests/web/reauthentication/test_late.py::test_a_correct_password_is_stored_nowhere",
    ),
    _mutant(
        "reauthentication is valid for five minutes",
        "connections/web/framework/reauthentication.py",
        "WINDOW = timedelta(minutes=5)",
        "WINDOW = timedelta(minutes=50)",
        "tests/web/reauthentication/test_proof.py::test_signing_in_with_the_password_counts_for_five_minutes",
    ),
    _mutant(
        "wrong passwords are limited",
        "connections/web/framework/reauthentication.py",
        "    if ratelimit.consume(request, action=_ACTION, user=person):\n",
        "    if True:\n",
        "tests/web/reauthentication/test_proof.py::test_after_five_wrong_passwords_even_the_right_one_is"
        "_refused_and_recorded_once",
    ),
    _mutant(
        "a passkey verifies the user at reauthentication",
        "connections/web/people/passkeys.py",
        "    if not parsed.response.authenticator_data.is_user_verified():\n",
        "    if False:\n",
        "tests/web/reauthentication/test_passkey.py::test_it_is_refused_even_for_a_challenge_that_required_no_user_verification",
    ),
    _mutant(
        "allauth requires reauthentication of everybody",
        "connections/web/people/accounts.py",
        "        raise ReauthenticationRequired\n",
        "        return True\n",
        f"{PAGES}::test_a_person_without_password_or_mfa_cannot_set_up_mfa_without_reauthentication",
    ),
    _mutant(
        "allauth stores and replays no POST",
        "connections/web/framework/middleware.py",
        "return redirect_to_prompt(request) if isinstance(error, ReauthenticationRequired) "
        "else None",
        "return None",
        f"{PAGES}::test_a_page_that_changes_sign_in_methods_prompts_first_and_replays_nothing",
    ),
    _mutant(
        "a sign-in link alone is no reauthentication",
        "connections/web/framework/reauthentication.py",
        '    return bool(is_password or record.get("passwordless"))\n',
        "    return True\n",
        f"{PAGES}::test_a_sign_in_link_counts_as_an_identity_check_only_if_it_sets_the_password",
    ),
)

DELIVERING = "tests/notifications/test_deliveries.py"
NOTICES = (
    _mutant(
        "no event without its notifications",
        "connections/audit/events.py",
        "        outbox.enqueue(events=events)\n",
        "",
        "tests/notifications/test_outbox.py::test_requesting_and_approving_on_the_pages_notifies_the_other_person",
    ),
    _mutant(
        "a notification is claimed before it is sent",
        "connections/notifications/delivery.py",
        "due.update(due_at=clock.now() + CLAIM_TIMEOUT, attempts",
        "due.update(attempts",
        f"{DELIVERING}::test_a_delivery_without_a_stored_result_is_sent_again_with_the_same_id",
    ),
    _mutant(
        "a frozen worker overwrites no delivery result",
        "connections/notifications/delivery.py",
        "state=Notification.State.WAITING, attempts=notification.attempts",
        "attempts__gte=0",
        f"{DELIVERING}::test_a_frozen_worker_does_not_overwrite_another_workers_result",
    ),
    _mutant(
        "a webhook is signed",
        "connections/notifications/webhooks.py",
        '        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),\n',
        '        "webhook-signature": "v1,",\n',
        f"{DELIVERING}::test_a_webhook_is_signed_and_can_be_verified_by_its_receiver",
    ),
    _mutant(
        "a symbolic link in place of the checkpoint file is refused",
        "connections/notifications/channels.py",
        " | os.O_NOFOLLOW",
        "",
        "tests/notifications/test_page.py::test_a_symbolic_link_in_place_of_the_file_is_not_followed",
    ),
    _mutant(
        "sending mail has a deadline",
        "connections/notifications/email_backend.py",
        "            self._deadline.start()\n",
        "",
        f"{DELIVERING}::test_a_mail_that_the_server_rejects_is_retried[drip-SMTPConnectError-None]",
    ),
    _mutant(
        "a mail server's refusal holds no address",
        "connections/notifications/channels.py",
        '_ADDRESS.sub("…", response.replace(address, "…"))',
        "response",
        f"{DELIVERING}::test_a_mail_that_the_server_rejects_is_retried",
    ),
    _mutant(
        "metrics require the token",
        "connections/operations/metrics_token.py",
        "secrets.compare_digest(header_token.strip().encode(), token.reveal().encode())",
        "True",
        "tests/notifications/test_metrics.py::test_anything_else_is_refused",
    ),
)

TAMPERING = "tests/evidence/test_tampering.py"
EVIDENCE = (
    _mutant(
        "each event names the hash it was chained to",
        "connections/evidence/stored_events.py",
        "    if chained_to != previous:\n",
        "    if False:\n",
        f"{TAMPERING}::test_an_edited_event_with_a_recomputed_hash_is_named_and_not_the_next",
    ),
    _mutant(
        "the former key signs a rotation",
        f"{VERIFIER}/notes.py",
        '    for key, name in ((old, "signature_by_previous"), (new, "signature_by_new")):\n',
        '    for key, name in ((new, "signature_by_new"),):\n',
        f"{TAMPERING}::test_a_rotation_that_the_former_key_did_not_sign_is_named",
    ),
    _mutant(
        "a checkpoint is signed by the key in force",
        "connections/evidence/key_rotation.py",
        "        if signer != self._known[self._current]:\n",
        "        if signer not in self._known:\n",
        f"{TAMPERING}::test_a_checkpoint_signed_with_a_key_before_its_time_is_named",
    ),
    _mutant(
        "an old key file signs nothing",
        "connections/audit/signing.py",
        "    if key.public_key != recorded:\n",
        "    if False:\n",
        "tests/audit/test_signing_key.py"
        "::test_a_machine_that_kept_the_old_file_signs_nothing_and_says_so",
    ),
    _mutant(
        "an event after the end of the log is detected",
        "connections/evidence/verification.py",
        "    if before.events > size:\n",
        "    if False:\n",
        f"{TAMPERING}::test_an_event_appended_after_the_end_is_named",
    ),
)

PROVIDER = "tests/people/oidc"
SIGN_IN = (
    _mutant(
        "the ID token belongs to this sign-in",
        "connections/people/oidc/tokens.py",
        "    _check_nonce_and_audience(claims, nonce=nonce, client_id=client_id)\n",
        "",
        f"{PROVIDER}/test_faults.py::test_it_is_refused_and_the_reason_is_recorded[another nonce]",
    ),
    _mutant(
        "a response of the provider can be used once",
        "connections/web/people/single_sign_on.py",
        "pending.pop(",
        "pending.get(",
        f"{PROVIDER}/test_sign_in.py::test_a_response_can_be_used_once",
    ),
    _mutant(
        "an account is identified by issuer and subject",
        "connections/people/provider_accounts.py",
        "provider_accounts__issuer=issuer, provider_accounts__subject=subject",
        "provider_accounts__subject=subject",
        f"{PROVIDER}/test_sign_in.py::test_the_same_subject_at_another_issuer_is_another_person",
    ),
    _mutant(
        "reauthentication by single sign-on requires a new sign-in",
        "connections/people/oidc/tokens.py",
        "    if not since - LEEWAY <= signed_in_at <= now + LEEWAY:\n",
        "    if False:\n",
        f"{PROVIDER}/test_reauthentication.py::test_a_provider_that_does_not_reauthenticate_proves_nothing",
    ),
    _mutant(
        "a passkey verifies the user when it is the only factor",
        "connections/web/people/mfa.py",
        "            passkeys.require_user_verification(\n",
        "            passkeys.parse_passkey_response(\n",
        "tests/people/test_sign_in.py::test_a_passkey_without_user_verification_is_refused_"
        "even_for_an_mfa_challenge",
    ),
    _mutant(
        "another Host header doesn't reset the limit on passwords",
        "connections/web/people/accounts.py",
        "    def _get_login_attempts_cache_key(",
        "    def _unused(",
        "tests/people/test_limits.py::test_neither_the_host_nor_the_case_of_the_name_resets_the_limit",
    ),
    _mutant(
        "wrong codes are recorded",
        "connections/web/people/mfa.py",
        "        return self.record_refusal_of(super().clean_code)\n",
        "        return super().clean_code()\n",
        "tests/people/test_mfa.py"
        "::test_wrong_codes_are_recorded_and_after_five_even_a_correct_one_is_refused",
    ),
)

APPROVING = "tests/deletions/approvals/test_approving.py"
BY_THE_DATABASE = "tests/deletions/approvals/test_database.py"
BREAKING = "tests/deletions/approvals/test_break_glass.py"
BREAK_GLASS = "connections/deletions/break_glass.py"

FOUR_EYES = (
    _mutant(
        "an approval covers what was shown",
        "connections/deletions/approvals.py",
        "    if (digest, shown_round) != (deletion.approval_digest, deletion.approval_round):\n",
        "    if shown_round != deletion.approval_round:\n",
        f"{APPROVING}::test_an_approval_covers_everything_that_was_shown",
    ),
    _mutant(
        "an approval covers the ticket",
        "connections/models/deletions.py",
        'shown = ["approval, version 1", digest, reason, ticket]',
        'shown = ["approval, version 1", digest, reason]',
        f"{APPROVING}::test_an_approval_covers_everything_that_was_shown",
    ),
    _mutant(
        "a changed connection can't be approved",
        "connections/deletions/approvals.py",
        "    if not comparison.can_be_approved:\n",
        "    if False:\n",
        f"{APPROVING}::test_a_changed_connection_closes_the_deletion_and_cannot_be_approved",
    ),
    _mutant(
        "approvals are counted before sending",
        SENDING,
        "    if len(approvals) < states.approvals_needed(deletion):\n",
        "    if False:\n",
        f"{APPROVING}::test_starting_an_attempt_counts_the_approvals_itself",
    ),
    _mutant(
        "a trigger refuses copies that differ",
        RULES,
        '    " AND requested_by_id = NEW.requester_id AND approval_digest = NEW.digest"\n',
        "",
        f"{BY_THE_DATABASE}::test_an_approval_must_match_the_deletions_values",
    ),
    _mutant(
        "a trigger keeps what was requested",
        RULES,
        "            unchanged(*REQUESTED),\n",
        '            "1 = 1",\n',
        f"{BY_THE_DATABASE}::test_the_requested_values_of_a_deletion_cannot_be_changed",
    ),
    _mutant(
        "a trigger that keeps deletions",
        RULES,
        '        *never_removed(DELETION, "A deletion can\'t be removed"),\n',
        "",
        f"{BY_THE_DATABASE}::test_a_deletion_cannot_be_removed_and_requested_differently",
    ),
    _mutant(
        "a trigger that keeps rows by their hidden number",
        RULES,
        '        insert = f"({insert}) AND {new_rowid(table)}"\n',
        "",
        "tests/audit/test_append_only.py::test_sqlite_refuses_to",
    ),
    _mutant(
        "a retired credential's policy still counts",
        "connections/deletions/confirmations.py",
        " if not credential.is_retired or (credential.site, credential.org_id) not in in_use\n",
        " if not credential.is_retired\n",
        "tests/deletions/test_choices.py"
        "::test_retiring_the_stricter_side_does_not_remove_its_approval",
    ),
    _mutant(
        "a trigger that counts approvals",
        RULES,
        '"approvals", "UPDATE", HAS_APPROVALS, ',
        '"approvals", "UPDATE", "1 = 1", ',
        f"{BY_THE_DATABASE}::test_nothing_is_approved_or_sent_with_too_few_approvals",
    ),
    _mutant(
        "a trigger that keeps decisions",
        RULES,
        '"decision", "UPDATE", unchanged(*DECIDED), ',
        '"decision", "UPDATE", "1 = 1", ',
        f"{BY_THE_DATABASE}::test_a_decision_cannot_be_changed",
    ),
    _mutant(
        "breaking glass is a permission of its own",
        "connections/access/permissions.py",
        "    has_permission = actor.person is not None and actor.person.has_break_glass\n",
        "    has_permission = actor.person is not None\n",
        f"{BREAKING}::test_neither_the_operator_role_nor_being_an_administrator_is_enough",
    ),
    _mutant(
        "breaking glass is for Operators",
        "connections/access/permissions.py",
        "    return has_permission and can_use(actor, credential_id=deletion.credential_id)\n",
        "    return has_permission\n",
        f"{BREAKING}::test_the_permission_is_effective_only_for_an_operator",
    ),
    _mutant(
        "breaking glass is confirmed by typing",
        BREAK_GLASS,
        "    if not confirmations.confirmation_matches(typed=confirmation, expected=expected):\n",
        "    if False:\n",
        f"{BREAKING}::test_it_needs_the_confirmation",
    ),
    _mutant(
        "nobody grants themselves the break-glass permission",
        "connections/people/people.py",
        "    if is_allowed and actor.person and actor.person.pk == person.pk:\n",
        "    if False:\n",
        f"{BREAKING}::test_no_one_grants_break_glass_to_themselves",
    ),
    _mutant(
        "nobody gives late approval for their own use of break glass",
        "connections/access/permissions.py",
        "actor.person.pk not in {deletion.break_glass_by_id, deletion.requested_by_id}\n",
        "True\n",
        f"{BREAKING}::test_the_requester_and_the_user_of_break_glass_cannot_give_late_approval",
    ),
)

FACTS = "connections/deletions/attempt_facts.py"
EARLIER_ATTEMPTS = "tests/deletions/test_earlier_attempts.py"
FACTS_TESTS = "tests/deletions/test_attempt_facts.py"

TRUE_SENTENCES = (
    _mutant(
        "nothing was sent only when no attempt left",
        FACTS,
        "    return sentence if sent in true_of else otherwise\n",
        "    return sentence\n",
        f"{EARLIER_ATTEMPTS}::test_after_a_429_no_text_claims_that_nothing_was_sent",
    ),
    _mutant(
        "an attempt without a usable response might have worked",
        f"{VERIFIER}/rules.py",
        "_SENT.get(str(verdict), Sent.UNCERTAIN)",
        "_SENT.get(str(verdict), Sent.NOTHING)",
        f"{EARLIER_ATTEMPTS}::test_after_a_lost_response_no_text_claims_that_nothing_was_sent",
        f"{FACTS_TESTS}::test_an_attempt_with_an_unknown_result_might_have_worked",
    ),
    _mutant(
        "a bundle names attempts that might have worked",
        f"{VERIFIER}/page.py",
        'sent_by(attempt.get("verdict") for attempt in attempts)',
        "Sent.NOTHING",
        f"{FACTS_TESTS}::test_no_text_contradicts_the_recorded_attempts",
    ),
    _mutant(
        "a late 200 and a complete listing settle as deleted",
        "connections/deletions/reconciliation.py",
        "    if listed is False and deletion.has_late_success:\n",
        "    if False:\n",
        f"{EARLIER_ATTEMPTS}::test_a_worker_stopped_for_90_s_after_a_429_ends_as_deleted",
    ),
    _mutant(
        "a late 200 settles only what a complete listing lacks",
        "connections/deletions/reconciliation.py",
        "    if listed is False and deletion.has_late_success:\n",
        "    if not listed and deletion.has_late_success:\n",
        f"{EARLIER_ATTEMPTS}::test_a_late_200_settles_nothing_while_syncs_fail",
    ),
    _mutant(
        "a late 200 counts before another DELETE",
        "connections/deletions/verification.py",
        "        elif deletion.has_late_success:\n",
        "        elif False:\n",
        f"{EARLIER_ATTEMPTS}::test_a_late_200_means_deleted_once_the_connection_is_no_longer_listed",
    ),
    _mutant(
        "a 404 after a late 200 does not hide it",
        TRANSITIONS,
        "        case AttemptResult.NOT_FOUND if had_late_success:\n",
        "        case AttemptResult.NOT_FOUND if False:\n",
        f"{EARLIER_ATTEMPTS}::test_after_a_late_200_and_a_404_a_sync_settles_it_as_deleted",
    ),
    _mutant(
        "a late 200 is checked at once",
        RECORDING,
        "    if response.verdict == AttemptResult.DELETED and awaits_outcome:\n",
        "    if False:\n",
        f"{EARLIER_ATTEMPTS}::test_a_late_200_makes_the_next_check_due_at_once",
    ),
)

ROUTING = "connections/web/framework/routing.py"

ACCESS = (
    _mutant(
        "a view without access rules never runs",
        ROUTING,
        "    access = access or ALLAUTH.get(name)\n",
        "    access = access or ALLAUTH.get(name, _OPEN)\n",
        "tests/web/test_middleware.py::test_a_view_without_access_rules_never_runs",
    ),
    _mutant(
        "a URL's permission is checked",
        ROUTING,
        "            permission.require(actor_of(request))\n",
        "            pass\n",
        "tests/web/test_access.py::test_each_role_can_access_exactly_what_the_matrix_allows",
    ),
    _mutant(
        "a POST needs the permission that its URL names for it",
        ROUTING,
        "access.post_permission if is_posted and access.post_permission else access.permission",
        "access.permission",
        "tests/web/test_middleware.py::test_a_post_can_need_another_permission_than_a_get",
    ),
    _mutant(
        "a URL accepts only so many fields",
        "connections/web/framework/middleware.py",
        "for _, values in fields.lists()) > max_fields:\n",
        "for _, values in fields.lists()) > 10_000:\n",
        "tests/web/hardening/test_unreadable.py::"
        "test_too_many_fields_get_an_error_page_and_are_not_read_again",
    ),
    _mutant(
        "a row is approved with its bulk deletion only",
        "connections/web/deletions/detail.py",
        "deletion=deletion) and not deletion.is_run_by_batch\n",
        "deletion=deletion)\n",
        A_ROW_ON_ITS_OWN_PAGE,
    ),
    _mutant(
        "a row is confirmed with its bulk deletion only",
        "connections/web/deletions/detail.py",
        "return is_awaited and is_alone and not states",
        "return is_awaited and not states",
        A_ROW_ON_ITS_OWN_PAGE,
    ),
    _mutant(
        "a deletion that waits for its retry offers no confirmation",
        "connections/web/deletions/detail.py",
        "return is_awaited and is_alone and not states",
        "return is_alone and not states",
        "tests/deletions/test_earlier_attempts.py"
        "::test_a_waiting_deletion_whose_check_failed_offers_no_confirmation",
    ),
    _mutant(
        "a URL accepts only its declared methods",
        ROUTING,
        "        if request.method not in access.methods:\n",
        "        if False:\n",
        "tests/web/test_access.py::test_no_url_accepts_any_other_method",
    ),
)

WEB_SERVER = "orgadmin/web_server.py"

SERVING = "tests/orgadmin/test_web_server.py"

AVAILABILITY = (
    _mutant(
        "a response waits for its client",
        "orgadmin/web_server.py",
        "            outbuf_high_watermark=OUTPUT_BUFFER_SIZE,\n",
        "",
        f"{SERVING}::test_a_stream_is_generated_as_fast_as_it_is_read_and_closed_when_reading_stops",
    ),
    _mutant(
        "a request has a limited time to arrive",
        WEB_SERVER,
        "            self.handle_close()\n",
        "            pass\n",
        f"{SERVING}::test_a_request_that_takes_too_long_to_arrive_is_disconnected",
    ),
    _mutant(
        "more bytes give a request no more time",
        WEB_SERVER,
        "        if not self._has_begun:\n",
        "        if True:\n",
        f"{SERVING}::test_a_request_that_takes_too_long_to_arrive_is_disconnected",
    ),
    _mutant(
        "a client that stops reading is disconnected",
        WEB_SERVER,
        "        if not self.total_outbufs_len:\n",
        "        if True:\n",
        f"{SERVING}::test_a_stream_is_generated_as_fast_as_it_is_read_and_closed_when_reading_stops",
    ),
    _mutant(
        "idle connections make room for new ones",
        WEB_SERVER,
        "                min(waiting, key=lambda idle: idle.waiting_since).will_close = True\n",
        "                pass\n",
        f"{SERVING}::test_when_all_connections_are_in_use_idle_ones_are_closed",
    ),
    _mutant(
        "the web server finishes its requests before it stops",
        WEB_SERVER,
        "        return bool(self.requests) or self.total_outbufs_len > 0\n",
        "        return self.total_outbufs_len > 0\n",
        f"{SERVING}::test_stopping_finishes_a_request_even_if_its_client_has_disconnected",
    ),
    _mutant(
        "the page after a request is served when stopping",
        WEB_SERVER,
        "                follow_until = time.monotonic() + FOLLOW_SECONDS\n",
        "                followed_at = time.monotonic()\n",
        f"{SERVING}::test_stopping_finishes_a_running_request_and_serves_the_page_after_it",
    ),
    _mutant(
        "no request starts while stopping",
        WEB_SERVER,
        "            if self.is_stopping and ",
        "            if False and ",
        f"{SERVING}::test_stopping_finishes_a_running_request_and_serves_the_page_after_it",
    ),
    _mutant(
        "only a trusted proxy names the scheme",
        WEB_SERVER,
        'serving.is_in_networks(environ["REMOTE_ADDR"], networks) and ',
        "",
        f"{SERVING}::test_the_scheme_comes_from_a_trusted_proxy_and_the_address_is_the_peers",
    ),
    _mutant(
        "starting downloads nothing",
        "run",
        '    if [ ! -e "$venv" ]; then\n',
        "    if true; then\n",
        "tests/orgadmin/test_script.py::test_service_commands_require_an_install_and_download_nothing",
    ),
)

SESSION_TESTS = "tests/people/test_sessions.py"

UNREADABLE = "tests/web/hardening/test_unreadable.py"

ORIGINS = "tests/people/test_passkey_origins.py"
OWN_ADDRESS = "connections/core/own_address.py"
OWN_ADDRESS_TESTS = "tests/people/test_own_address.py"
RESET_LINKS = "tests/people/test_passwords.py"

IN_FLIGHT = "tests/browser/test_in_flight.py"

KNOWN_DEVICES = "tests/people/test_known_devices.py"

APP_JS = "static/connections/app.js"

PAGES_AND_INPUTS = (
    _mutant(
        "an export overwrites no file but an earlier checkpoint",
        "connections/management/base.py",
        "            parse_checkpoint(path.read_bytes(), str(path))\n",
        "            pass\n",
        "tests/audit/test_recorded_exports.py"
        "::test_a_command_overwrites_only_an_earlier_checkpoint_file",
    ),
    _mutant(
        "sessions are stored by a hash of their key",
        "connections/models/sessions.py",
        'salted_hmac("connections.session_key", session_key, algorithm="sha256").hexdigest()',
        "session_key",
        f"{SESSION_TESTS}::test_no_table_contains_the_value_of_the_cookie",
        f"{SESSION_TESTS}::test_no_stored_session_value_works_as_a_cookie",
    ),
    _mutant(
        "copies of the database hold no sessions",
        "connections/operations/backup.py",
        "        _remove_sessions(target)\n",
        "",
        "tests/operations/test_backup.py::test_a_copy_contains_no_session_data",
    ),
    _mutant(
        "deleted sessions leave nothing in a copy's free pages",
        "connections/operations/backup.py",
        '        opened.execute("VACUUM")\n',
        "        pass\n",
        "tests/operations/test_backup.py::test_a_copy_contains_no_session_data",
        "tests/operations/test_backup.py::test_a_copy_contains_no_rows_that_were_deleted_earlier",
    ),
    _mutant(
        "Cancel is hidden while a DELETE is in flight",
        APP_JS,
        "    for (const element of unsentElements(form)) element.hidden = true;\n",
        "",
        f"{IN_FLIGHT}::test_the_review_says_that_it_is_being_sent_and_has_no_cancel_link",
    ),
    _mutant(
        "the fields of a form are disabled while it is in flight",
        APP_JS,
        '    if (form?.matches?.("form[data-in-flight]")) lock(form);\n',
        "",
        f"{IN_FLIGHT}::test_the_review_says_that_it_is_being_sent_and_has_no_cancel_link",
    ),
    _mutant(
        "a poll replaces nothing while an action is in flight",
        APP_JS,
        ' && $("form[data-in-flight]")) event.preventDefault();',
        " && false) event.preventDefault();",
        f"{IN_FLIGHT}::test_a_poll_while_a_delete_is_in_flight_replaces_nothing",
    ),
    _mutant(
        "forms that a response replaces are submitted one at a time",
        APP_JS,
        "    const forms = target ? ",
        "    const forms = false ? ",
        "tests/browser/test_changes.py"
        "::test_a_second_note_can_be_saved_only_after_the_list_shows_the_first",
    ),
    _mutant(
        "an event during the refresh of a timeline isn't lost",
        "templates/deletions/detail.html",
        ' hx-select="#record > *" hx-target="this" hx-swap="innerHTML"',
        ' hx-target="this" hx-swap="outerHTML"',
        "tests/browser/test_approvals.py"
        "::test_an_event_during_the_refresh_of_the_timeline_refreshes_it_again",
    ),
    _mutant(
        "Cancel reappears only with a response that refuses",
        APP_JS,
        "    if (isRefusal(event.detail.xhr.status) && !mightBeSent(form)) for",
        "    if (!mightBeSent(form)) for",
        f"{IN_FLIGHT}::test_text_that_says_nothing_was_sent_stays_hidden_after_a_lost_response",
    ),
    _mutant(
        "a refusal after a lost response doesn't say that nothing was sent",
        APP_JS,
        " && !mightBeSent(form)) for",
        ") for",
        f"{IN_FLIGHT}::test_a_refusal_after_a_lost_response_does_not_say_that_nothing_was_sent",
    ),
    _mutant(
        "error pages never read the body",
        "connections/web/framework/errors.py",
        '        if not hasattr(request, "_post"):\n',
        "        if False:\n",
        f"{UNREADABLE}::test_too_many_fields_get_an_error_page_and_are_not_read_again",
    ),
    _mutant(
        "an error page that fails logs its traceback",
        "connections/web/framework/errors.py",
        '            logger.exception("The page for an error failed: %s", request.path)\n',
        "",
        f"{UNREADABLE}::test_an_error_in_an_error_page_logs_its_traceback_once",
    ),
    _mutant(
        "a fault is logged once",
        "connections/web/framework/errors.py",
        "            response._has_been_logged = True  # type: ignore[attr-defined]\n",
        "",
        f"{UNREADABLE}::test_an_error_in_the_bad_request_page_logs_its_traceback_once",
    ),
    _mutant(
        "one handler writes Django's records",
        "orgadmin/environment.py",
        '            "django": {"handlers": []},\n',
        "",
        f"{UNREADABLE}::test_a_django_log_record_is_written_by_one_handler",
    ),
    _mutant(
        "a charset other than UTF-8 is refused",
        "connections/web/framework/middleware.py",
        '        if charset.lower() != "utf-8":\n',
        "        if False:\n",
        f"{UNREADABLE}::test_a_charset_other_than_utf_8_gets_a_400_page",
    ),
    _mutant(
        "a request with any Content-Type is handled",
        "orgadmin/wsgi.py",
        "    request_class = Request\n",
        "    kind = Request\n",
        f"{UNREADABLE}::test_the_charset_of_a_get_is_refused_before_its_query_is_read",
        f"{UNREADABLE}::test_a_content_type_that_cannot_be_parsed_gets_a_400_page",
    ),
    _mutant(
        "malformed passkeys are refused",
        "connections/web/people/passkeys.py",
        "    except _MALFORMED:\n",
        "    except ZeroDivisionError:\n",
        f"{UNREADABLE}::test_any_malformed_passkey_response_is_refused_without_an_error",
    ),
    _mutant(
        "a passkey is accepted only at our own origin",
        "connections/web/people/passkeys.py",
        "    if client_data.origin not in own_origins(request):\n",
        "    if False:\n",
        f"{ORIGINS}::test_no_subdomain_port_or_other_allowed_host_is_accepted",
    ),
    _mutant(
        "a passkey can be added only at our own origin",
        "connections/web/people/mfa.py",
        "                passkeys.require_own_origin(parsed.client_data, context.request)\n",
        "",
        f"{ORIGINS}::test_no_subdomain_port_or_other_allowed_host_is_accepted",
    ),
    _mutant(
        "a host that only matches a pattern isn't our own",
        OWN_ADDRESS,
        '        return origin if urlsplit(origin).hostname in exact else ""\n',
        "        return origin\n",
        f"{ORIGINS}::test_a_host_that_only_a_pattern_allows_accepts_no_passkey",
        f"{OWN_ADDRESS_TESTS}::test_no_reset_link_is_mailed_for_a_host_that_a_stranger_chose",
        "tests/people/oidc/test_configuration.py"
        "::test_a_sign_in_starts_only_at_a_host_that_is_named_exactly",
    ),
    _mutant(
        "a pattern in ALLOWED_HOSTS isn't itself a host",
        OWN_ADDRESS,
        " if not is_pattern(host)}",
        "}",
        f"{OWN_ADDRESS_TESTS}::test_a_requests_host_counts_if_it_is_named_exactly",
    ),
    _mutant(
        "no reset link is mailed without our own address",
        "connections/web/people/accounts.py",
        '        if not context["password_reset_url"]:\n',
        "        if False:\n",
        f"{OWN_ADDRESS_TESTS}::test_no_reset_link_is_mailed_for_a_host_that_a_stranger_chose",
    ),
    _mutant(
        "a reset link ends with the person's sessions",
        "connections/people/passwords.py",
        "{user.get_session_auth_hash()}",
        "",
        f"{RESET_LINKS}::test_a_reset_link_ends_with_a_persons_other_access",
    ),
    _mutant(
        "a reset link ends with a new sign-in link",
        "connections/people/passwords.py",
        "{newest_link}",
        "",
        f"{RESET_LINKS}::test_a_reset_link_ends_with_a_persons_other_access",
    ),
    _mutant(
        "ending sessions ends reset links",
        "connections/people/passwords.py",
        "{ended.count()}",
        "",
        f"{RESET_LINKS}::test_a_reset_link_ends_with_a_persons_other_access",
    ),
    _mutant(
        "a disabled person sets no password",
        "connections/people/people.py",
        '    permissions.require(lock_person(person).is_active, "set a password")\n',
        "",
        f"{RESET_LINKS}::test_a_disabled_person_sets_no_password",
    ),
    _mutant(
        "the name on the sign-in page has a limit",
        "connections/web/people/forms.py",
        "            max_length=MAX_LOGIN_LENGTH,\n",
        "",
        "tests/people/test_long_names.py::test_a_long_name_is_an_error_at_its_field",
    ),
    _mutant(
        "a refused form names the address it came from",
        "connections/web/framework/errors.py",
        'origin if reason == REASON_BAD_ORIGIN % origin else ""',
        '""',
        "tests/web/test_form_origin.py::test_it_names_both_addresses_and_what_to_fix",
    ),
    _mutant(
        "metrics by address",
        "connections/web/framework/middleware.py",
        '        if request.path == "/metrics" and "Authorization" in request.headers:\n',
        "        if False:\n",
        "tests/notifications/test_metrics.py"
        "::test_the_token_opens_the_metrics_by_address_and_over_http",
    ),
    _mutant(
        "hidden and unused IDs can't be protected",
        "connections/inventory/protections.py",
        "        objects.require_visible_connection(key, actor=actor)\n",
        "        objects.require_connection(key, actor=actor)\n",
        "tests/access/test_visibility.py::test_protecting_does_not_reveal_whether_a_connection_exists",
    ),
    _mutant(
        "failed sign-ins by strangers don't lock out a known browser",
        "connections/web/people/accounts.py",
        "return known_devices.device_for(request, login=login) or login.upper()",
        "return login.upper()",
        f"{KNOWN_DEVICES}::test_a_known_browser_signs_in_while_strangers_are_locked_out",
    ),
    _mutant(
        "failed sign-ins from the same address don't either",
        "connections/web/people/accounts.py",
        "return known_devices.device_signing_in(request) or support.client_address(request)",
        "return support.client_address(request)",
        f"{KNOWN_DEVICES}::test_a_known_browser_signs_in_while_strangers_are_locked_out",
    ),
    _mutant(
        "a browser is known only for people who signed in with it",
        "connections/web/people/known_devices.py",
        "if login.upper() in names else",
        "if names else",
        f"{KNOWN_DEVICES}::test_it_is_known_only_for_people_who_signed_in_with_it",
    ),
    _mutant(
        "a new password makes a browser unknown",
        "connections/web/people/known_devices.py",
        "        if constant_time_compare(fingerprints[str(person.pk)], _fingerprint(person))\n",
        "",
        f"{KNOWN_DEVICES}::test_a_new_password_ends_it",
    ),
)


APPROVALS = "connections/deletions/approvals.py"

ROUNDS = "tests/deletions/approvals/test_rounds.py"

APPROVAL_ROUNDS = (
    _mutant(
        "an attempt that ends unknown ends its approval round",
        TRANSITIONS,
        '        columns["approval_round"] = deletion.approval_round + 1\n',
        "        pass\n",
        f"{ROUNDS}::test_the_approvals_of_an_earlier_attempt_do_not_allow_another",
    ),
    _mutant(
        "a confirmation counts only the approvals of this round",
        "connections/models/deletions.py",
        "            and self.round == deletion.approval_round\n",
        "",
        f"{ROUNDS}::test_the_confirmation_form_returns_409_and_sends_nothing",
    ),
    _mutant(
        "sending counts only the approvals of this round",
        TRANSITIONS,
        "        round=deletion.approval_round,\n",
        "",
        f"{ROUNDS}::test_starting_an_attempt_counts_the_approvals_of_its_round_itself",
    ),
    _mutant(
        "what needs approval again is not confirmed",
        DELETIONS,
        "    if states.is_awaiting_approval(deletion):\n",
        "    if False:\n",
        f"{ROUNDS}::test_the_approvals_of_an_earlier_attempt_do_not_allow_another",
    ),
    _mutant(
        "a page of an earlier round approves nothing",
        APPROVALS,
        "    if (digest, shown_round) != (deletion.approval_digest, deletion.approval_round):\n",
        "    if digest != deletion.approval_digest:\n",
        f"{ROUNDS}::test_a_page_opened_before_the_first_attempt_cannot_approve_a_second_one",
    ),
    _mutant(
        "a confirmation that would be refused is not offered",
        "connections/web/deletions/detail.py",
        "    if block:\n",
        "    if False:\n",
        "tests/deletions/approvals/test_approving.py"
        "::test_a_confirmation_that_would_be_refused_is_not_offered",
    ),
    _mutant(
        "people whose approvals expired are offered to approve again",
        "connections/web/deletions/detail.py",
        "(is_new_round or not deletion.is_decided_by(actor.person))",
        "not deletion.is_decided_by(actor.person)",
        f"{ROUNDS}::test_approvals_lapse_even_without_a_worker",
    ),
    _mutant(
        "approvals lapse after 24 hours",
        TRANSITIONS,
        "    return deletion.state == State.STILL_PRESENT and has_expired(deletion, now=now)\n",
        "    return False\n",
        f"{ROUNDS}::test_unconfirmed_approvals_lapse_and_the_same_people_can_approve_again",
        f"{ROUNDS}::test_approvals_lapse_even_without_a_worker",
    ),
    _mutant(
        "a decline ends the approvals",
        TRANSITIONS,
        '{"approval_round": deletion.approval_round + 1, "expires_at": None}',
        "{}",
        f"{ROUNDS}::test_a_decline_ends_the_approval_of_another_person",
    ),
    _mutant(
        "nobody acts on a round that is over",
        TRANSITIONS,
        '    "approval_round",\n',
        "",
        f"{ROUNDS}::test_a_confirmation_that_lost_a_race_with_a_new_round_sends_nothing",
    ),
    _mutant(
        "break glass covers one attempt",
        "connections/models/deletions.py",
        "        return self.break_glass_at is not None and "
        "self.break_glass_round == self.approval_round\n",
        "        return self.break_glass_at is not None\n",
        f"{ROUNDS}::test_break_glass_covers_one_attempt",
    ),
    _mutant(
        "a restored backup counts no approvals that may have been used since",
        "connections/operations/backup.py",
        ".filter(state=State.STILL_PRESENT).exclude(\n"
        "            policy=ApprovalPolicy.NONE\n        )",
        ".none()",
        "tests/operations/test_backup.py::test_approvals_that_might_have_been_used_since_the_backup_do_not_count",
    ),
    _mutant(
        "a trigger that counts approvals of this round",
        RULES,
        '    " AND round = NEW.approval_round)"\n',
        '    ")"\n',
        f"{ROUNDS}::test_the_database_refuses_to_send_with_the_approvals_of_an_earlier_round",
    ),
    _mutant(
        "a trigger ends a round with its attempt",
        RULES,
        '"round", "UPDATE", ROUND, ',
        '"round", "UPDATE", "1 = 1", ',
        f"{ROUNDS}::test_the_database_ends_an_approval_round_with_its_attempt",
        f"{ROUNDS}::test_the_database_lets_a_round_neither_decrease_nor_skip_a_number",
    ),
    _mutant(
        "a trigger against approvals for another round",
        RULES,
        """    " AND policy <> 'none' AND approval_round = NEW.round"\n""",
        """    " AND policy <> 'none'"\n""",
        f"{ROUNDS}::test_the_database_refuses_an_approval_for_another_round",
    ),
    _mutant(
        "a trigger binds break glass to its round",
        RULES,
        '" OR NEW.break_glass_round IS NOT DISTINCT FROM NEW.approval_round"',
        '" OR NEW.break_glass_round IS NOT NULL"',
        f"{ROUNDS}::test_the_database_limits_break_glass_to_its_round",
    ),
    _mutant(
        "a trigger that binds an attempt to its round",
        RULES,
        "            OF_CURRENT_ROUND,\n",
        '            "1 = 1",\n',
        f"{ROUNDS}::test_the_database_refuses_an_attempt_under_another_round",
    ),
    _mutant(
        "the verifier counts approvals for each attempt",
        f"{VERIFIER}/rules.py",
        '            or (state == "unknown" and before != "unknown")\n',
        "",
        "tests/deletions/approvals/test_evidence.py::test_a_second_attempt_on_the_first_approval_is_detected",
    ),
)

VERIFICATION = "connections/evidence/verification.py"

COMPARISON = "connections/evidence/comparison.py"

CHANGE_COMPARISON = "connections/evidence/changes.py"

CHANGE_EVIDENCE = "tests/evidence/test_changes.py"

RESULTS = "tests/evidence/test_frozen_results.py"

DATABASE_ROLE = "tests/audit/test_postgresql_role.py"

DATABASE_GUARDS = "connections/operations/database_guards.py"

FROZEN_RESULTS = (
    _mutant(
        "a trigger that keeps settled deletions",
        RULES,
        "            settled_unchanged(vendor),\n",
        '            "1 = 1",\n',
        f"{RESULTS}::test_a_settled_deletion_cannot_be_changed",
    ),
    _mutant(
        "a trigger that keeps verifications",
        RULES,
        "        VERIFIED,\n",
        "",
        f"{RESULTS}::test_a_later_finding_cannot_be_reverted",
    ),
    _mutant(
        "a trigger that keeps contradictions",
        RULES,
        "        CONTRADICTED,\n",
        "",
        f"{RESULTS}::test_a_contradiction_cannot_be_removed",
    ),
    _mutant(
        "a trigger that keeps the names of people",
        RULES,
        "        unchanged_or_erased(*NAMES),\n",
        "",
        f"{RESULTS}::test_a_settled_deletion_cannot_be_changed",
    ),
    _mutant(
        "a trigger that keeps the credential of a deletion",
        RULES,
        "unchanged(*COPIED)",
        '"1 = 1"',
        f"{RESULTS}::test_a_settled_deletion_cannot_be_changed",
    ),
    _mutant(
        "a trigger that keeps claims",
        RULES,
        '"claim", "UPDATE", unchanged(*CLAIMED), ',
        '"claim", "UPDATE", "1 = 1", ',
        f"{RESULTS}::test_a_claimed_attempt_cannot_be_changed",
    ),
    _mutant(
        "a trigger that keeps responses",
        RULES,
        "            RESPONSE_RECORDED_ONCE,\n",
        '            "1 = 1",\n',
        f"{RESULTS}::test_an_attempt_with_its_response_cannot_be_changed",
    ),
    _mutant(
        "a trigger that keeps attempts",
        RULES,
        '        *never_removed(ATTEMPT, "An attempt can\'t be removed or replaced"),\n',
        "",
        f"{RESULTS}::test_results_cannot_be_removed_or_replaced",
    ),
    _mutant(
        "a trigger that keeps attempts from being replaced",
        RULES,
        """        *never_replaced(
            ATTEMPT,
            "id = NEW.id OR deletion_id = NEW.deletion_id"
            " AND (number = NEW.number OR epoch = NEW.epoch)",
            "An attempt can't be removed or replaced",
        ),
""",
        "",
        f"{RESULTS}::test_results_cannot_be_removed_or_replaced",
    ),
    _mutant(
        "two processes do not verify a deletion twice",
        "connections/deletions/verification.py",
        "    if not rows.filter(is_unverified).update(",
        "    if not rows.update(",
        f"{RESULTS}::test_only_one_of_two_concurrent_verifications_is_recorded",
        "tests/batches/test_groups.py"
        "::test_rows_that_another_worker_verified_first_are_verified_once",
    ),
    _mutant(
        "a verification compares every record",
        "connections/evidence/verification.py",
        "            yield from compare_all(kind, differing=state.differing[kind.fault])\n",
        "            yield None\n",
        f"{RESULTS}::test_a_changed_deletion_is_named",
        f"{RESULTS}::test_a_changed_attempt_is_named_by_its_deletion",
    ),
    _mutant(
        "a verification misses removed deletions",
        "connections/evidence/verification.py",
        "                state.differing[kind.fault].add_missing(missing)\n",
        "                pass\n",
        f"{RESULTS}::test_a_removed_attempt_and_a_removed_deletion_are_named",
    ),
    _mutant(
        "a cell of the matrix names no hidden deletion",
        "connections/inventory/matrix.py",
        "    deletions = visibility.visible(related, actor=actor).in_bulk()\n",
        "    deletions = related.in_bulk()\n",
        "tests/inventory/test_matrix.py::test_a_cell_names_its_last_change_and_a_deletion_only_to_who_can_see_it",
    ),
    _mutant(
        "a verification compares every change",
        CHANGE_COMPARISON,
        'if changes_digest(changes) == event.details["sha256"]',
        "if changes",
        f"{CHANGE_EVIDENCE}::test_an_altered_column_of_a_change_is_detected",
    ),
    _mutant(
        "a verification compares every acknowledgement",
        CHANGE_COMPARISON,
        "        if not is_same:\n",
        "        if False:\n",
        f"{CHANGE_EVIDENCE}::test_an_altered_acknowledgement_is_named",
    ),
    _mutant(
        "a verification finds changes and acknowledgements that no event records",
        CHANGE_COMPARISON,
        "        if _count(query) != compared:\n",
        "        if False:\n",
        f"{CHANGE_EVIDENCE}::test_an_invented_change_is_named",
        f"{CHANGE_EVIDENCE}::test_an_invented_acknowledgement_is_named",
    ),
    _mutant(
        "a difference is read again before it is reported",
        "connections/evidence/comparison.py",
        "                suspects = _find_differences(kind, list(suspects))\n",
        "                pass\n",
        f"{RESULTS}::test_concurrent_changes_raise_no_false_alarm",
    ),
    _mutant(
        "one unreadable row hides no other",
        "connections/evidence/comparison.py",
        "        return _compare(kind, ids)\n    except UNREADABLE:\n",
        "        return _compare(kind, ids)\n    except ZeroDivisionError:\n",
        f"{RESULTS}::test_an_unreadable_column_is_named",
    ),
    _mutant(
        "a deletion that isn't found by its ID is named",
        "connections/evidence/comparison.py",
        '            suspects[record_id] = "it can\'t be found by its ID"\n            continue\n',
        "            continue\n",
        f"{RESULTS}::test_a_deletion_whose_id_is_spelled_differently_is_reported",
    ),
    _mutant_on_postgresql(
        "trigger functions look in temporary tables last",
        TRIGGERS,
        "        SET search_path = {path} AS $$\n",
        "        AS $$\n",
        f"{DATABASE_ROLE}::test_temporary_tables_do_not_replace_real_ones",
        f"{DATABASE_ROLE}::test_every_trigger_function_sets_its_own_search_path",
    ),
    _mutant(
        "the doctor misses a trigger",
        DATABASE_GUARDS,
        '(expected - present.keys(), "missing")',
        '(set[str](), "missing")',
        "tests/management/test_doctor.py::test_a_missing_trigger_is_an_error",
    ),
    _mutant_on_postgresql(
        "the doctor looks at the database role",
        DATABASE_GUARDS,
        '"create temporary tables": can_create_temporary,',
        '"create temporary tables": False,',
        f"{DATABASE_ROLE}::test_doctor_warns_of_a_role_that_could_bypass_the_triggers",
    ),
)

CONTRADICTIONS = "tests/datadog/test_contradictions.py"

PAYLOADS = "connections/datadog/payloads.py"

LISTING = "connections/datadog/client.py"

PEERS = (
    _mutant(
        "NaN and Infinity are refused",
        PAYLOADS,
        "            parse_constant=_refuse_constant,\n",
        "",
        f"{CONTRADICTIONS}::test_a_listing_that_contradicts_itself_is_not_complete",
    ),
    _mutant(
        "a name twice in one object is refused",
        PAYLOADS,
        "            object_pairs_hook=_object_of_unique_names,\n",
        "",
        f"{CONTRADICTIONS}::test_a_404_that_is_not_strict_json_does_not_prove_absence",
    ),
    _mutant(
        "a listing with errors is incomplete",
        PAYLOADS,
        "    if errors:\n        cause = ",
        "    if False:\n        cause = ",
        "tests/faults/responses/test_settled.py::test_a_200_is_not_verified_by_an_unusable_list",
    ),
    _mutant(
        "two counts that differ make a listing incomplete",
        PAYLOADS,
        "    elif _has_another_total(_mapping(document), total=total):\n",
        "    elif False:\n",
        "tests/faults/responses/test_settled.py"
        "::test_a_contradictory_list_does_not_settle_a_deletion_as_absent",
    ),
    _mutant(
        "one id with two contents makes a listing incomplete",
        LISTING,
        "self._by_id.setdefault(org_connection.id, org_connection) != org_connection:\n",
        "self._by_id.setdefault(org_connection.id, org_connection) is None:\n",
        f"{CONTRADICTIONS}::test_two_contents_on_two_pages_also_contradict_each_other",
    ),
    _mutant(
        "a 200 with errors verifies no key",
        "connections/datadog/client.py",
        " else reported_errors(document)\n",
        " else None\n",
        f"{CONTRADICTIONS}::test_every_endpoint_parses_as_strictly",
    ),
)

CLOCK = "connections/core/clock.py"
SET_BACK = "tests/faults/clock/test_set_back.py"
AHEAD = "tests/faults/clock/test_ahead.py"
PROOF = "tests/web/reauthentication/test_proof.py"

WRONG_CLOCK = (
    _mutant(
        "a time in the future is never recent",
        CLOCK,
        "    return timedelta.max if is_ahead(at, now=now) else max(now - at, timedelta())\n",
        "    return max(now - at, timedelta())\n",
        f"{PROOF}::test_setting_the_clock_back_does_not_renew_an_identity_check",
        f"{SET_BACK}::test_a_claim_from_the_future_becomes_unknown_at_once",
    ),
    _mutant(
        "clocks may differ by a few seconds",
        CLOCK,
        "    return at > now + TOLERANCE\n",
        "    return at > now\n",
        f"{AHEAD}::test_the_age_of_a_time",
    ),
    _mutant(
        "a deadline too far ahead has passed",
        CLOCK,
        " or is_ahead(deadline - within, now=now)\n",
        "\n",
        f"{AHEAD}::test_a_deadline_further_ahead_than_the_maximum_has_passed",
        f"{AHEAD}::test_a_session_last_used_in_the_future_has_expired",
    ),
    _mutant(
        "a claim from the future is lost",
        "connections/deletions/reconciliation.py",
        "    if clock.elapsed_since(started, now=now) < time_limits.CLAIM_TIMEOUT:\n",
        "    if now - started < time_limits.CLAIM_TIMEOUT:\n",
        f"{SET_BACK}::test_a_claim_from_the_future_becomes_unknown_at_once",
    ),
    _mutant(
        "a due time too far ahead is due",
        "connections/operations/due.py",
        "        is_impossible |= Q(state=state, due_at__gt=now + window + clock.TOLERANCE)\n",
        "        del state, window\n",
        f"{SET_BACK}::test_a_claim_from_the_future_becomes_unknown_at_once",
    ),
    _mutant(
        "a window too far ahead is due",
        "connections/operations/due.py",
        "        is_impossible |= Q(state=state, expires_at__gt=now + window + clock.TOLERANCE)\n",
        "        del state, window\n",
        f"{ROUNDS}::test_the_worker_also_lapses_approvals",
        f"{ROUNDS}::test_a_request_by_a_clock_that_was_ahead_expires_when_it_is_set_back",
    ),
    _mutant(
        "what a wrong clock postponed is processed",
        "connections/operations/due.py",
        "    return list(islice(_find_postponed(postponed, now=now), limit))\n",
        "    return []\n",
        f"{SET_BACK}::test_a_200_is_checked_at_once_and_then_on_schedule",
    ),
    _mutant(
        "what was postponed is processed once",
        "connections/operations/due.py",
        "            if at and clock.is_ahead(at, now=now):\n",
        "            if at:\n",
        f"{SET_BACK}::test_a_200_is_checked_at_once_and_then_on_schedule",
    ),
    _mutant(
        "approvals from the future lapse",
        TRANSITIONS,
        "    return deletion.state == State.STILL_PRESENT and has_expired(deletion, now=now)\n",
        "    is_still_present = deletion.state == State.STILL_PRESENT\n"
        "    ends_at = deletion.expires_at\n"
        "    return is_still_present and ends_at is not None and now >= ends_at\n",
        f"{ROUNDS}::test_approvals_given_by_a_clock_that_was_ahead_lapse_when_it_is_set_back",
    ),
    _mutant(
        "a listing from the future is not the first of two",
        "connections/deletions/reconciliation.py",
        "kept = None if agrees and not is_last_ahead and not is_decided else check",
        "kept = None if agrees and not is_decided else check",
        f"{SET_BACK}::test_a_check_from_before_the_clock_was_set_back_does_not_count",
    ),
    _mutant(
        "a listing counts 35 s after the first event of the present clock",
        "connections/deletions/states.py",
        "        happened_by = event.at\n    return happened_by\n",
        "        happened_by = event.at\n    return now - timedelta(days=1)\n",
        f"{SET_BACK}::test_checks_count_from_the_first_event_recorded_after_the_clock_was_set_back",
        f"{SET_BACK}::test_a_connection_still_listed_within_five_minutes_is_no_contradiction",
    ),
    _mutant(
        "an unknown from the future raises its alarm",
        "connections/operations/due.py",
        " | Q(sending_at__gt=now + clock.TOLERANCE)\n",
        "\n",
        f"{SET_BACK}::test_an_unknown_deletion_from_the_future_raises_the_alarm_an_hour_after_a_check",
    ),
    _mutant(
        "a listing from the future hides no newer one",
        "connections/inventory/syncs.py",
        ", started_at__lte=now + clock.TOLERANCE)\n",
        ")\n",
        f"{SET_BACK}::test_the_inventory_shows_the_sync_made_after_the_clock_was_set_back",
    ),
    _mutant(
        "an identity check that was too old is removed",
        "connections/web/framework/reauthentication.py",
        "    del request.session[_SESSION_KEY]\n",
        "",
        f"{PROOF}::test_an_expired_identity_check_stays_expired_after_the_clock_is_set_back",
    ),
    _mutant(
        "a session last used in the future is over",
        "connections/models/sessions.py",
        "            row = None\n        if row is None:\n",
        "            pass\n        if row is None:\n",
        f"{AHEAD}::test_a_session_last_used_in_the_future_has_expired",
    ),
    _mutant(
        "a link from the future is invalid",
        "connections/people/people.py",
        "        expires_at__lte=now + LINK_LIFETIMES[purpose] + clock.TOLERANCE,\n",
        "",
        f"{AHEAD}::test_a_link_created_in_the_future_is_no_longer_valid",
    ),
    _mutant(
        "a notification postponed too far is due",
        "connections/notifications/delivery.py",
        'clock.has_passed_in_query("due_at", within=MAX_RETRY_DELAY, now=now)',
        "Q(due_at__lte=now)",
        f"{AHEAD}::test_a_notification_delayed_by_a_clock_that_was_ahead_is_due",
    ),
    _mutant(
        "a heartbeat from the future hides no other worker",
        "connections/operations/heartbeats.py",
        "(is_old | is_ahead)",
        "(is_old)",
        f"{AHEAD}::test_a_heartbeat_from_the_future_counts_as_a_dead_worker",
    ),
    _mutant(
        "the newest verification is the one kept last",
        "connections/evidence/verification.py",
        'AuditVerification.objects.order_by("-id")',
        'AuditVerification.objects.order_by("-checked_at", "-id")',
        f"{AHEAD}::test_a_verification_from_the_future_is_repeated_once",
    ),
    _mutant(
        "a verification answers the requests that it covers",
        "connections/evidence/verification.py",
        "last.size >= newest.seq or (\n        last.size == newest.seq - 1",
        "(\n        last.size >= newest.seq - 1",
        f"{AHEAD}::test_a_verification_requested_in_the_future_runs_once",
    ),
    _mutant(
        "a checkpoint from the future counts as old",
        "connections/audit/checkpoints.py",
        "    return clock.elapsed_since(checkpoint.made_at, now=now) >= CHECKPOINT_INTERVAL\n",
        "    return now - checkpoint.made_at >= CHECKPOINT_INTERVAL\n",
        f"{AHEAD}::test_a_checkpoint_from_the_future_is_followed_by_a_current_one",
    ),
    _mutant(
        "a recorded time in the future is named",
        "connections/operations/checks.py",
        "newest if newest and clock.is_ahead(newest, now=now) else None",
        "None",
        f"{AHEAD}::test_the_doctor_warns_when_the_newest_recorded_time_lies_in_the_future",
        f"{AHEAD}::test_the_overview_warns_when_the_newest_recorded_time_lies_in_the_future",
    ),
)

TICKET_PATTERNS = "connections/deletions/tickets.py"

TICKET_TESTS = "tests/deletions/test_ticket_patterns.py"

HOSTILE_TEXTS = "tests/management/test_hostile_texts.py"
NO_LINE = f"{HOSTILE_TEXTS}::test_no_text_from_outside_adds_a_line_or_an_unprintable_character"
ONLY_A_REASON = (
    "tests/notifications/test_deliveries.py"
    "::test_only_a_quoted_reason_has_line_breaks_and_nothing_reverses_the_text"
)

INPUTS_AND_FILES = (
    _mutant(
        "a name adds no line to a command's output",
        "connections/management/base.py",
        "super().write(printable(msg), style_func, ending)",
        "super().write(msg, style_func, ending)",
        f"{NO_LINE}[list_orgs]",
        f"{NO_LINE}[list_org_connections]",
    ),
    _mutant(
        "a usage error controls no terminal",
        "connections/management/base.py",
        "print_error(printable(message))",
        "print_error(message)",
        f"{NO_LINE}[list_orgs]",
    ),
    _mutant(
        "JSON of a command keeps a name as it is",
        "connections/management/base.py",
        "lines = (printable_json(text),)",
        "lines = (text,)",
        f"{HOSTILE_TEXTS}::test_a_json_document_keeps_every_character_of_a_value",
    ),
    _mutant(
        "no control character in a JSON export",
        "connections/core/tabular.py",
        "return printable_json(_encode(value))",
        "return _encode(value)",
        f"{HOSTILE_TEXTS}::test_a_json_document_has_no_unprintable_character[export_deletions]",
    ),
    _mutant(
        "a terminal shows an export escaped",
        "connections/management/base.py",
        "        if self.isatty():\n",
        "        if False:\n",
        f"{HOSTILE_TEXTS}::test_a_csv_export_is_escaped_only_for_a_terminal[True]",
    ),
    _mutant(
        "no text passes for a record of the log",
        "orgadmin/environment.py",
        "return printable(super().formatMessage(record))",
        "return super().formatMessage(record)",
        f"{HOSTILE_TEXTS}::test_no_text_passes_for_a_record_of_the_log",
    ),
    _mutant(
        "no traceback passes for a record of the log",
        "orgadmin/environment.py",
        'textwrap.indent(super().formatException(ei), "  ")',
        "super().formatException(ei)",
        f"{HOSTILE_TEXTS}::test_no_text_passes_for_a_record_of_the_log",
    ),
    _mutant(
        "a traceback of a command controls no terminal",
        "manage.py",
        "    sys.excepthook = print_exception\n",
        "",
        f"{HOSTILE_TEXTS}"
        "::test_a_process_prints_its_error_and_a_traceback_without_control_characters[--traceback]",
    ),
    _mutant(
        "a name adds no line to an email",
        "connections/notifications/messages.py",
        "lines = [_one_line(self.sentence)]",
        "lines = [self.sentence]",
        ONLY_A_REASON,
    ),
    _mutant(
        "a row adds no line to an email",
        "connections/notifications/messages.py",
        '*(f"- {_one_line(row)}" for row in self.rows)',
        '*(f"- {row}" for row in self.rows)',
        ONLY_A_REASON,
    ),
    _mutant(
        "a row adds no line to a chat",
        "connections/notifications/messages.py",
        '(f"• {_one_line(row)}" for row in self.rows)',
        '(f"• {row}" for row in self.rows)',
        ONLY_A_REASON,
    ),
    _mutant(
        "a name adds no line to the webhook's sentence",
        "connections/notifications/messages.py",
        "return one_line(self.sentence, limit=len(self.sentence))",
        "return self.sentence",
        ONLY_A_REASON,
    ),
    _mutant(
        "a hidden character starts no formula in a CSV",
        "connections/core/tabular.py",
        "return is_formula or not first.isprintable()",
        "return is_formula",
        "tests/deletions/history/test_pages.py::test_no_cell_can_be_read_as_a_formula",
    ),
    _mutant(
        "no full-width formula in a CSV",
        "connections/core/tabular.py",
        'unicodedata.normalize("NFKC", first).startswith(FORMULA_STARTS)',
        "first.startswith(FORMULA_STARTS)",
        "tests/deletions/history/test_pages.py::test_a_full_width_sign_cannot_start_a_formula",
    ),
    _mutant(
        "the verifier never waits for a pipe",
        f"{VERIFIER}/archive.py",
        'flags | getattr(os, "O_NONBLOCK", 0)',
        "flags",
        "tests/evidence/test_bundle.py::test_only_regular_files_are_read[pipe]",
    ),
    _mutant(
        "the verifier reads regular files only",
        f"{VERIFIER}/archive.py",
        "    if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):\n",
        "    if False:\n",
        "tests/evidence/test_bundle.py::test_only_regular_files_are_read[device]",
    ),
    _mutant(
        "no ticket pattern takes long to match",
        TICKET_PATTERNS,
        "not re2.fullmatch(",
        'not __import__("re").fullmatch(',
        f"{TICKET_TESTS}::test_no_pattern_takes_long",
    ),
    _mutant(
        "a number too large for a float is refused",
        PAYLOADS,
        "            parse_float=_finite_float,\n",
        "",
        f"{CONTRADICTIONS}::test_a_body_that_is_not_strict_json_has_a_cause",
    ),
    _mutant(
        "JSON is UTF-8",
        PAYLOADS,
        "            body.decode(),\n",
        "            body,\n",
        f"{CONTRADICTIONS}::test_a_body_that_is_not_strict_json_has_a_cause",
    ),
    _mutant(
        "deep nesting is refused with a message",
        PAYLOADS,
        "    except (ValueError, RecursionError):\n",
        "    except ValueError:\n",
        f"{CONTRADICTIONS}::test_a_body_that_is_not_strict_json_has_a_cause",
    ),
    _mutant(
        "neither of two contents is kept",
        LISTING,
        "                self._by_id[org_connection.id] = None\n",
        "                self._by_id[org_connection.id] = org_connection\n",
        f"{CONTRADICTIONS}::test_a_listing_that_contradicts_itself_is_not_complete",
    ),
    _mutant(
        "an org with two names makes a listing incomplete",
        PAYLOADS,
        "    elif is_contradictory:\n",
        "    elif False:\n",
        f"{CONTRADICTIONS}::test_an_org_that_is_included_with_two_names_is_a_contradiction",
    ),
    _mutant(
        "an org with two names identifies no key",
        PAYLOADS,
        " or org is None or is_contradictory:\n",
        " or org is None:\n",
        f"{CONTRADICTIONS}::test_an_org_that_is_included_with_two_names_is_a_contradiction",
    ),
    _mutant(
        "errors in place of the list have their own cause",
        LISTING,
        "parse_page(document) or reported_errors(document) or ",
        "parse_page(document) or ",
        f"{CONTRADICTIONS}::test_errors_in_place_of_the_list_are_reported_as_errors",
    ),
    _mutant(
        "the ticket pattern is checked when starting",
        "orgadmin/settings.py",
        'read_checked("ORGADMIN_TICKET_PATTERN", check_ticket_pattern)\n',
        'read_checked("ORGADMIN_TICKET_PATTERN", str)\n',
        "tests/orgadmin/test_settings.py::test_an_invalid_setting_is_reported_in_one_line",
    ),
)

PROVIDER_EXCHANGE = "connections/people/oidc/exchange.py"

SLOW_PROVIDER_TESTS = f"{PROVIDER}/test_slow_provider.py"

PROVIDER_FAULTS = f"{PROVIDER}/test_faults.py"

MALFORMED_METADATA = (
    f"{PROVIDER_FAULTS}::test_malformed_metadata_shows_an_error_page_without_a_redirect"
)

SLOW_PROVIDER = (
    _mutant(
        "all requests of a sign-in share one deadline",
        PROVIDER_EXCHANGE,
        "        remaining = self._deadline - time.monotonic()\n",
        "        remaining = self.provider.deadline_seconds\n",
        f"{SLOW_PROVIDER_TESTS}::test_three_slow_responses_share_one_deadline",
    ),
    _mutant(
        "a sign-in ends at its deadline",
        PROVIDER_EXCHANGE,
        "                deadline_seconds=remaining,\n",
        "                deadline_seconds=30.0,\n",
        f"{SLOW_PROVIDER_TESTS}::test_a_slow_response_ends_at_the_deadline",
    ),
    _mutant(
        "two sign-ins wait at once for the identity provider",
        PROVIDER_EXCHANGE,
        "MAX_CONCURRENT = 2\n",
        "MAX_CONCURRENT = 8\n",
        f"{SLOW_PROVIDER_TESTS}::test_while_two_wait_for_a_silent_provider_a_third_is_refused_at_once",
    ),
    _mutant(
        "a failed sign-in frees its slot",
        PROVIDER_EXCHANGE,
        "    finally:\n        _slots.release()\n",
        "    finally:\n        pass\n",
        f"{SLOW_PROVIDER_TESTS}::test_a_sign_in_that_fails_frees_its_slot",
    ),
    _mutant(
        "a person asked to try again keeps the pending sign-in",
        "connections/web/people/single_sign_on.py",
        "    now = clock.now()\n    at = ",
        "    request.session[_SESSION_KEY] = pending\n    now = clock.now()\n    at = ",
        f"{SLOW_PROVIDER_TESTS}::test_a_sign_in_that_found_no_free_slot_can_be_retried",
    ),
    _mutant(
        "metadata is strict JSON",
        PROVIDER_EXCHANGE,
        "parse_json(response.body)\n",
        '__import__("json").loads(response.body)\n',
        f"{PROVIDER_FAULTS}::test_metadata_that_is_not_strict_json_is_refused",
    ),
    _mutant(
        "metadata holds lists of strings",
        "connections/people/oidc/client.py",
        "    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):\n",
        "    if False:\n",
        MALFORMED_METADATA,
    ),
    _mutant(
        "an endpoint has a valid host and port",
        "connections/people/oidc/exchange.py",
        "_is_valid_host(parts.hostname) and parts.port != 0\n",
        "bool(parts.hostname)\n",
        MALFORMED_METADATA,
    ),
    _mutant(
        "PyJWT sees only keys of its own kinds",
        "connections/people/oidc/tokens.py",
        '        and key.get("alg") in (None, *ALGORITHMS)\n',
        "",
        f"{PROVIDER_FAULTS}::test_unusable_provider_keys_sign_no_one_in",
    ),
    _mutant(
        "an issuer that can't be trusted is not asked",
        "connections/people/oidc/client.py",
        "    if not is_usable_issuer(issuer):\n",
        "    if False:\n",
        f"{PROVIDER_FAULTS}::test_a_malformed_issuer_gets_no_request",
    ),
    _mutant(
        "a form with the client secret is never shown",
        "connections/net/http.py",
        "body: bytes | None = field(default=None, repr=False)\n",
        "body: bytes | None = None\n",
        f"{SLOW_PROVIDER_TESTS}::test_no_error_or_log_contains_a_client_secret_sent_in_the_form",
    ),
    _mutant(
        "doctor looks at the identity provider",
        "connections/operations/checks.py",
        '    "identity provider": check_identity_provider,\n',
        "",
        f"{PROVIDER}/test_configuration.py::test_doctor_checks_the_identity_provider",
    ),
)

INTERRUPTION = "connections/management/interruption.py"

DELETE_COMMAND = "connections/management/commands/delete_org_connection.py"

STOPPED = "tests/faults/crashes/test_stopping_the_command.py"

SIGNALS = (
    _mutant(
        "a signal doesn't interrupt a DELETE",
        INTERRUPTION,
        "        self.is_held = True\n",
        "",
        f"{STOPPED}::test_a_signal_during_the_delete_lets_it_record_and_print_the_outcome[sqlite-2]",
    ),
    _mutant(
        "no claim commits after a signal",
        INTERRUPTION,
        "            raise StopRequestedError\n        self.deletion_id",
        "            pass\n        self.deletion_id",
        f"{STOPPED}::test_a_claim_is_not_committed_after_a_signal_that_the_code_ignored",
    ),
    _mutant(
        "a signal before the claim stops the command",
        INTERRUPTION,
        "        if not self.is_held:\n",
        "        if False:\n",
        f"{STOPPED}::test_a_signal_during_the_review_sync_records_and_sends_nothing[sqlite]",
        f"{STOPPED}::test_a_signal_during_verification_lets_it_print_the_recorded_outcome[sqlite]",
    ),
    _mutant(
        "a second signal ends the command",
        INTERRUPTION,
        "                self.end_immediately()\n",
        "                pass\n",
        f"{STOPPED}::test_a_second_signal_stops_it_at_once_and_prints_the_deletion[sqlite]",
    ),
    _mutant(
        "a terminal that hangs up twice does not end a DELETE",
        INTERRUPTION,
        "            if number != signal.SIGHUP or not is_same:\n",
        "            if True:\n",
        f"{STOPPED}::test_a_second_hangup_of_the_same_terminal_is_ignored[sqlite]",
    ),
    _mutant(
        "after sending, a failure never has exit code 1",
        "connections/management/deleting.py",
        "        return UNKNOWN if self.has_sent else FAILED\n",
        "        return FAILED\n",
        "tests/management/test_delete_org_connection.py"
        "::test_after_sending_it_never_exits_with_1_whichever_statement_fails",
    ),
    _mutant(
        "a verification that failed to run never has exit code 1",
        "connections/management/commands/verify_audit.py",
        "        return NOT_VERIFIED\n",
        "        return VERIFICATION_FAILED\n",
        "tests/evidence/test_tampering.py"
        "::test_the_command_exits_with_2_whichever_statement_fails[sqlite-driver]",
    ),
    _mutant_on_postgresql(
        "no server-side cursor outlives its transaction",
        "orgadmin/settings.py",
        '    DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True\n',
        "",
        "tests/operations/test_pooling.py"
        "::test_workers_the_verification_and_bundles_need_no_connection_of_their_own",
    ),
    _mutant(
        "a worker ends when its SQLite database is gone",
        "connections/operations/worker.py",
        "        except MissingDatabaseError:\n            raise\n",
        "",
        "tests/management/test_worker.py::test_it_ends_when_its_sqlite_database_is_removed",
    ),
    _mutant(
        "a plan made after a failed sync keeps its rows",
        "connections/batches/drafts.py",
        "        batch, rows = build_draft(source=source, actor=actor, can_wait_for_sync=True)\n",
        "        batch, rows = build_draft(source=source, actor=actor)\n",
        "tests/batches/test_requesting.py"
        "::test_a_plan_made_after_a_failed_sync_can_be_requested_after_a_complete_one",
    ),
    _mutant(
        "a signal while Django is loaded waits",
        "manage.py",
        "        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)\n",
        "        pass\n",
        f"{STOPPED}::test_a_signal_while_django_loads_sends_nothing[sqlite]",
    ),
    _mutant(
        "a deletion stopped before sending is withdrawn",
        DELETE_COMMAND,
        "        if deletion.state != State.REQUESTED or deletion.policy != ApprovalPolicy.NONE:\n",
        "        if True:\n",
        f"{STOPPED}::test_a_signal_before_the_claim_is_committed_sends_nothing[sqlite-before_claim]",
    ),
    _mutant(
        "a result that cannot be printed does not change the exit code",
        "connections/management/deleting.py",
        "        except OSError:\n",
        "        except NotImplementedError:\n",
        f"{STOPPED}::test_the_exit_code_is_that_of_the_outcome_even_if_it_cannot_be_printed"
        "[sqlite]",
    ),
)

WRITE_PROBE = "connections/operations/write_probe.py"

WRITE_PROBE_TESTS = "tests/operations/test_write_probe.py"

NO_WRITES_TESTS = "tests/web/test_no_writes.py"

SERVE = "connections/management/commands/serve.py"

SERVE_TESTS = "tests/management/test_serve.py"

NO_WRITES = (
    _mutant(
        "a read-only database is not ready",
        "connections/web/framework/middleware.py",
        "        problem = find_write_problem()\n",
        "        problem = None\n",
        f"{WRITE_PROBE_TESTS}::test_a_read_only_database_is_not_ready",
    ),
    _mutant(
        "the write probe reaches the file",
        WRITE_PROBE,
        '                cursor.execute(f"PRAGMA user_version = {version:d}")\n',
        '                cursor.execute(f"PRAGMA user_version = {version:d}")\n'
        "                transaction.set_rollback(True)\n",
        f"{WRITE_PROBE_TESTS}::test_doctor_reports_a_full_disk",
    ),
    _mutant(
        "a database that is being written can be written",
        WRITE_PROBE,
        "            if not is_busy(error):\n                raise\n",
        "            raise\n",
        f"{WRITE_PROBE_TESTS}::test_a_busy_database_counts_as_writable",
    ),
    _mutant(
        "free space is part of being ready",
        WRITE_PROBE,
        "        if free < MIN_FREE_BYTES:\n",
        "        if False:\n",
        f"{WRITE_PROBE_TESTS}::test_too_little_free_space_is_not_ready",
    ),
    _mutant(
        "a page says that the database takes no writes",
        "connections/web/framework/errors.py",
        "    if is_unwritable or is_unavailable_error(error):\n",
        "    if is_unavailable_error(error):\n",
        f"{NO_WRITES_TESTS}::test_an_action_on_a_read_only_database_shows_a_page_that_says_so",
    ),
    _mutant(
        "a page says that the database can't be used",
        "connections/web/framework/errors.py",
        "    if is_unwritable or is_unavailable_error(error):\n",
        "    if is_unwritable:\n",
        "tests/web/test_lost_database.py::test_every_page_says_that_the_server_cannot_be_reached",
        "tests/web/test_lost_database.py::test_every_page_says_that_the_file_is_lost",
    ),
    _mutant(
        "after a failed action the page links to Deletions",
        "connections/web/framework/errors.py",
        "    return request.method not in READ and access is not None and access.needs_sign_in\n",
        "    return False\n",
        f"{NO_WRITES_TESTS}::test_an_action_on_a_read_only_database_shows_a_page_that_says_so",
    ),
    _mutant(
        "signing in says that the database takes no writes",
        "connections/web/framework/middleware.py",
        "            write_without_change()\n",
        "            pass\n",
        f"{NO_WRITES_TESTS}::test_signing_in_with_a_read_only_database_explains_the_failure",
    ),
    _mutant(
        "a page works when the session's use can't be recorded",
        "connections/web/framework/middleware.py",
        '            if request.method not in {"GET", "HEAD"} or not is_unwritable_error(error):\n',
        "            if True:\n",
        f"{NO_WRITES_TESTS}::test_a_page_is_shown_even_if_the_sessions_last_use_cannot_be_stored",
    ),
    _mutant(
        "another error in recording the session's use is raised",
        "connections/web/framework/middleware.py",
        '            if request.method not in {"GET", "HEAD"} or not is_unwritable_error(error):\n',
        "            if False:\n",
        f"{NO_WRITES_TESTS}::test_other_errors_while_storing_a_sessions_use_are_not_hidden",
    ),
    _mutant(
        "serve says that it can't write",
        SERVE,
        "        except (OSError, sqlite3.Error) as error:\n",
        "        except ZeroDivisionError as error:\n",
        f"{SERVE_TESTS}::test_a_read_only_data_directory_is_reported_in_one_line",
    ),
    _mutant(
        "a lost database doesn't look like a first start",
        SERVE,
        '        _require_expected_database(starts_new=options["new"])\n',
        "        pass\n",
        f"{SERVE_TESTS}::test_keys_without_their_database_are_not_a_first_start",
    ),
    _mutant(
        "--new starts no second audit log",
        SERVE,
        "    if starts_new and has_database:\n",
        "    if False:\n",
        f"{SERVE_TESTS}::test_new_starts_a_new_audit_log",
    ),
)

RACES = (
    _mutant(
        "attempts are read in the transaction that settles by a listing",
        "connections/deletions/reconciliation.py",
        "    with verification.lock_responses(deletion=deletion):\n"
        "        if listed is False and deletion.has_late_success:\n",
        "    had_late_success = deletion.has_late_success\n"
        "    with verification.lock_responses(deletion=deletion):\n"
        "        if listed is False and had_late_success:\n",
        f"{EARLIER_ATTEMPTS}::test_a_200_recorded_between_the_check_and_its_outcome_counts",
    ),
    Mutant(
        name="attempts are read in the transaction that settles before another DELETE",
        edits=(
            Edit(
                path="connections/deletions/verification.py",
                old="    with lock_responses(deletion=deletion):\n        facts",
                new="    had_late_success = deletion.has_late_success\n"
                "    with lock_responses(deletion=deletion):\n        facts",
            ),
            Edit(
                path="connections/deletions/verification.py",
                old="        elif deletion.has_late_success:\n",
                new="        elif had_late_success:\n",
            ),
        ),
        tests=(f"{EARLIER_ATTEMPTS}::test_a_200_recorded_after_the_pre_send_check_counts",),
    ),
    _mutant(
        "a poll stops at its limit of postponed deletions",
        "connections/operations/due.py",
        "    return list(islice(_find_postponed(postponed, now=now), limit))\n",
        "    return list(_find_postponed(postponed, now=now))\n",
        f"{SET_BACK}::test_many_deletions_delayed_by_a_wrong_clock_need_few_queries",
    ),
    _mutant(
        "newest events are read in batches",
        "connections/operations/due.py",
        "CHUNK_SIZE = 200\n",
        "CHUNK_SIZE = 1\n",
        f"{SET_BACK}::test_many_deletions_delayed_by_a_wrong_clock_need_few_queries",
    ),
)


SENDING_AGAIN = (
    Mutant(
        name="the keys that send are those of the credential that the claim locked",
        edits=(
            Edit(
                path=SENDING,
                old="            deletion.credential = credential\n",
                new="            deletion.before, deletion.credential = "
                "deletion.credential, credential\n",
            ),
            Edit(
                path=SENDING,
                old="    client = fetching.open_client(credential=credential)\n",
                new="    client = fetching.open_client(credential=deletion.before)\n",
            ),
        ),
        tests=(
            "tests/deletions/test_attempts.py"
            "::test_keys_that_are_rotated_during_the_pre_send_check_are_those_that_send",
        ),
    ),
    _mutant(
        "break glass is judged by the person as stored at the claim",
        SENDING,
        "    breaker = Person.objects.get(pk=breaker_id) if breaker_id else None\n",
        "    breaker = deletion.break_glass_by if breaker_id else None\n",
        "tests/deletions/approvals/test_break_glass.py"
        "::test_break_glass_that_is_revoked_during_the_pre_send_check_sends_nothing_more",
    ),
    _mutant(
        "a trigger refuses another attempt while one might still work",
        RULES,
        '    f" OR NOT {MAY_HAVE_WORKED}))"\n',
        '    " OR 1 = 1))"\n',
        f"{ROUNDS}::test_the_database_refuses_an_attempt_in_a_round_with_an_unknown_one",
    ),
    _mutant(
        "no approval covers an attempt after one that might have worked",
        SENDING,
        "        if tried.exists():\n",
        "        if False:\n",
        f"{ROUNDS}::test_nothing_is_claimed_in_a_round_with_an_unknown_attempt",
    ),
)

RATE_LIMITS = "connections/inventory/rate_limits.py"
SYNCS = "connections/inventory/syncs.py"
STORING = "connections/inventory/storing.py"
LIMIT_TESTS = "tests/inventory/test_rate_limits.py"
PARALLEL_TESTS = "tests/inventory/test_parallel.py"
SCHEDULE = "connections/inventory/sync_schedule.py"
SCHEDULE_TESTS = "tests/inventory/test_sync_schedule.py"
DUE_WORK_TESTS = "tests/operations/test_due_work.py"

PARALLEL_SYNCS = (
    _mutant(
        "keys are only on their request",
        TRANSPORT,
        "            response = session.request(\n",
        "            for name, key in request.keys.items():\n"
        "                session.headers[name] = key.reveal()\n"
        "            response = session.request(\n",
        "tests/datadog/test_reuse.py::test_each_request_carries_its_own_keys",
    ),
    _mutant(
        "a tenth of a rate limit is left to others",
        "connections/datadog/responses.py",
        "self.remaining * 100 < self.limit * _LOW_PERCENT",
        "self.remaining == 0",
        "tests/datadog/test_rate_limits.py::test_less_than_a_tenth_is_low",
    ),
    _mutant(
        "an org with a low rate limit is not synced automatically",
        SYNCS,
        "            and OrgKey.of(credential) not in held_back\n",
        "",
        f"{LIMIT_TESTS}::test_a_sync_that_nobody_asked_for_waits_until_the_limit_resets",
        "tests/faults/concurrency/test_rate_limits.py::test_processes_share_a_low_rate_limit",
    ),
    _mutant(
        "a worker doesn't sync an org with a low rate limit",
        SCHEDULE,
        "until=min(resets_at, now + SYNC_INTERVAL)",
        "until=now",
        f"{LIMIT_TESTS}::test_a_reset_syncs_only_the_org_that_was_held_back_from_a_sync",
        f"{SCHEDULE_TESTS}::test_an_org_that_is_held_back_is_due_when_its_rate_limit_resets",
    ),
    _mutant(
        "a claimed sync is not due",
        SCHEDULE,
        "[:ORGS_AT_ONCE])\n    _postpone(claimed, until=now + CLAIM_TIMEOUT)\n",
        "[:ORGS_AT_ONCE])\n",
        f"{SCHEDULE_TESTS}::test_processes_claim_different_credentials_and_those_of_a_dead_one_"
        "after_a_minute",
    ),
    _mutant(
        "an open page syncs nothing that another process is syncing",
        SCHEDULE,
        "credential.sync_due_at == free[credential.pk]",
        "True",
        f"{SCHEDULE_TESTS}::test_a_worker_leaves_out_what_an_open_page_is_syncing",
    ),
    _mutant(
        "an open page syncs nothing that another process had claimed before",
        SCHEDULE,
        "        if not now < credential.sync_due_at <= now + CLAIM_TIMEOUT\n",
        "",
        f"{SCHEDULE_TESTS}::test_an_open_page_leaves_out_what_another_process_is_syncing",
    ),
    _mutant_on_postgresql(
        "an open page waits for a sync that is being stored",
        SCHEDULE,
        "rows = rows.select_for_update(no_key=True)",
        "rows = skip_locked(rows)",
        f"{SCHEDULE_TESTS}::test_an_open_page_waits_for_a_sync_that_is_being_stored",
    ),
    _mutant(
        "a verification goes on during the passes of a bulk deletion",
        "connections/operations/worker.py",
        "        while not self._is_stopped:\n            self._continue_verification()\n",
        "        self._continue_verification()\n        while not self._is_stopped:\n",
        "tests/audit/test_checkpoints.py"
        "::test_a_verification_goes_on_during_the_passes_of_a_bulk_deletion",
    ),
    _mutant(
        "any sync postpones the next one",
        STORING,
        "            sync_due_at=sync_schedule.next_due_at(now=now),\n",
        "",
        f"{SCHEDULE_TESTS}::test_any_sync_postpones_the_next_one",
    ),
    _mutant(
        "a due time that a clock ahead set stops no sync",
        SCHEDULE,
        'clock.has_passed_in_query("sync_due_at", within=SYNC_INTERVAL, now=now)',
        "sync_due_at__lte=now",
        f"{SCHEDULE_TESTS}::test_a_clock_that_was_ahead_stops_no_sync",
    ),
    _mutant(
        "a retired credential is never due",
        SCHEDULE,
        "Credential.objects.filter(retired_at=None).exclude",
        "Credential.objects.exclude",
        f"{SCHEDULE_TESTS}::test_neither_a_retired_nor_an_unverified_credential_is_ever_due",
    ),
    _mutant(
        "only one worker claims a periodic task",
        "connections/operations/due_work.py",
        "filter(pk=task.pk, due_at=task.due_at)",
        "filter(pk=task.pk)",
        f"{DUE_WORK_TESTS}::test_only_one_process_claims_a_task",
    ),
    _mutant(
        "a worker looks at all deletions when the clock was set back",
        "connections/operations/worker.py",
        "last is None or clock.is_ahead(last.now, now=work.now)",
        "last is None",
        f"{DUE_WORK_TESTS}::test_a_worker_looks_at_all_deletions_when_it_starts_and_when_the_clock_"
        "was_set_back",
    ),
    _mutant(
        "a worker that lost its verification to another one ends it",
        "connections/operations/worker.py",
        "        if not due_work.postpone(task, until=clock.now() + due_work.CLAIM_TIMEOUT):\n"
        "            return\n",
        "        due_work.postpone(task, until=clock.now() + due_work.CLAIM_TIMEOUT)\n",
        "tests/audit/test_checkpoints.py"
        "::test_a_worker_that_is_killed_leaves_the_verification_to_the_others_after_a_minute",
    ),
    _mutant(
        "a response to a DELETE counts too",
        RECORDING,
        "    if limit and limit.is_low and not is_kept:\n",
        "    if False:\n",
        "tests/deletions/test_rate_limits.py::test_a_429_to_a_delete_holds_back_deferrable_work",
    ),
    _mutant(
        "a rate limit from the future holds nothing back",
        RATE_LIMITS,
        "        observed_at__lte=now + clock.TOLERANCE,\n",
        "",
        f"{LIMIT_TESTS}::test_a_limit_seen_before_the_clock_was_set_back_holds_nothing_back",
    ),
    _mutant(
        "at most 2 requests at once to an org",
        RATE_LIMITS,
        "REQUESTS_AT_ONCE = 2\n",
        "REQUESTS_AT_ONCE = 3\n",
        f"{PARALLEL_TESTS}::test_2_requests_are_sent_at_once_to_an_org_with_several_credentials",
    ),
    _mutant(
        "a sync waits for other requests to its org within its deadline",
        RATE_LIMITS,
        "slots.acquire(timeout=timeout_seconds)",
        "slots.acquire()",
        f"{PARALLEL_TESTS}::test_a_sync_waits_for_other_requests_to_its_org_within_its_deadline",
    ),
    _mutant(
        "a slow org delays the storing of no other",
        SYNCS,
        "in as_completed(fetching):",
        "in fetching:",
        f"{PARALLEL_TESTS}::test_an_org_that_does_not_respond_delays_the_storing_of_no_other",
    ),
)

BATCHES = "connections/batches"
BATCH_TESTS = "tests/batches"
COMMAND_TESTS = "tests/management/test_delete_org_connections.py"
BULK_DELETIONS = (
    _mutant(
        "a 429 extends the time for retries until the rate limit resets",
        "connections/deletions/states.py",
        "            if self.reset_seconds:\n",
        "            if False:\n",
        f"{BATCH_TESTS}/test_running.py::test_rows_are_sent_after_a_reset_later_than_their_15_minutes",
    ),
    _mutant(
        "the worker leaves alone what changed since it was found due",
        "connections/operations/due.py",
        '{"state": deletion.state, "epoch": deletion.epoch, "due_at"',
        '{"due_at"',
        "tests/deletions/test_due.py::test_what_changed_since_it_was_found_due_is_left_alone",
    ),
    _mutant(
        "a deletion that is being sent is never claimed again",
        SENDING,
        "    if deletion.state == State.SENDING:\n        # Read",
        "    if False:\n        # Read",
        "tests/deletions/test_attempts.py"
        "::test_a_deletion_that_was_read_while_it_is_sent_is_not_claimed_again",
    ),
    _mutant(
        "the database refuses to claim a deletion that is being sent",
        RULES,
        """OLD.state <> 'sending' OR NEW.state <> 'sending' OR NEW.epoch = OLD.epoch\"""",
        """TRUE\"""",
        "tests/deletions/test_attempts.py"
        "::test_a_deletion_that_was_read_while_it_is_sent_is_not_claimed_again",
        f"{ROUNDS}::test_the_database_refuses_an_attempt_during_another",
    ),
    _mutant(
        "the rest of an org is confirmed with its name too",
        f"{BATCHES}/drafts.py",
        "SELECTION if is_from_filter else BatchOrigin(batch.origin)",
        "SELECTION",
        f"{BATCH_TESTS}/test_drafts.py::test_the_rest_of_an_org_is_still_confirmed_with_its_name",
    ),
    _mutant(
        "no one approves their own bulk deletion",
        f"{BATCHES}/decisions.py",
        "    if person and person.pk in {batch.requested_by_id, batch.created_by_id}:\n",
        "    if False:\n",
        f"{BATCH_TESTS}/test_decisions.py::test_no_one_approves_their_own",
    ),
    _mutant(
        "only who can approve every row approves a bulk deletion",
        f"{BATCHES}/decisions.py",
        "        permissions.can_approve_batch(actor, batch=batch), ",
        "        True, ",
        f"{BATCH_TESTS}/test_decisions.py::test_an_approver_of_only_some_rows_approves_none",
    ),
    _mutant(
        "an approval of a bulk deletion is of the plan that was shown",
        f"{BATCHES}/decisions.py",
        "        if digest != batch.approval_digest:\n",
        "        if False:\n",
        f"{BATCH_TESTS}/test_decisions.py::test_another_digest_than_the_plans_approves_nothing",
    ),
    Mutant(
        name="a bulk deletion is requested as its plan was shown",
        edits=(
            Edit(
                path=f"{BATCHES}/requesting.py",
                old="    if changed_rows or digest != batch.digest:\n",
                new="    if changed_rows:\n",
            ),
            Edit(
                path=f"{BATCHES}/requesting.py",
                old=" or batch.digest != digest\n            # Decisions",
                new="\n            # Decisions",
            ),
        ),
        tests=(
            f"{BATCH_TESTS}/test_requesting.py"
            "::test_another_plan_than_the_shown_one_requests_nothing",
        ),
    ),
    _mutant(
        "a wrong confirmation requests no bulk deletion",
        f"{BATCHES}/requesting.py",
        '        fields |= confirming.find_problem(batch, confirmation=confirmation or "")\n',
        "        pass\n",
        f"{BATCH_TESTS}/test_requesting.py::test_a_wrong_confirmation_requests_nothing",
    ),
    _mutant(
        "a wrong confirmation starts no bulk deletion",
        f"{BATCHES}/confirming.py",
        "        if problem:\n            raise InvalidInputError(problem)\n",
        "",
        f"{BATCH_TESTS}/test_decisions.py::test_a_wrong_confirmation_sends_nothing",
    ),
    _mutant(
        "only the requester confirms a bulk deletion",
        f"{BATCHES}/confirming.py",
        "        if actor.person is None or actor.person.pk != batch.requested_by_id:\n",
        "        if False:\n",
        f"{BATCH_TESTS}/test_decisions.py::test_only_the_requester_confirms",
    ),
    _mutant(
        "after an hour's pause, resuming needs the confirmation",
        f"{BATCHES}/stopping.py",
        "        if needs_confirmation_to_resume(batch):\n",
        "        if False:\n",
        f"{BATCH_TESTS}/test_stopping.py"
        "::test_after_an_hours_pause_resuming_asks_for_the_confirmation_again",
    ),
    _mutant(
        "no row is claimed once its bulk deletion is paused",
        SENDING,
        "        if first.is_run_by_batch and not _lock_if_running(first.batch_id):\n"
        "            return []\n",
        "",
        f"{BATCH_TESTS}/test_running.py::test_a_pause_after_the_check_stops_the_claim",
    ),
    _mutant(
        "the database sends no row unless its bulk deletion is running",
        RULES,
        " WHERE id = NEW.batch_id AND state = 'running')\"\n",
        ' WHERE id = NEW.batch_id)"\n',
        f"{BATCH_TESTS}/test_decisions.py"
        "::test_the_database_sends_no_row_unless_its_bulk_deletion_is_running",
    ),
    _mutant(
        "the database queues no row without its approvals",
        RULES,
        "('approved', 'waiting', 'sending')",
        "('approved', 'sending')",
        f"{BATCH_TESTS}/test_decisions.py::test_the_database_queues_no_row_without_its_approvals",
    ),
    _mutant(
        "three problems in a row pause a bulk deletion",
        f"{BATCHES}/running.py",
        "        if stops or in_a_row >= stopping.MAX_PROBLEMS_IN_A_ROW:\n",
        "        if stops:\n",
        f"{BATCH_TESTS}/test_running.py::test_three_problems_in_a_row_from_one_credential_pause_it",
    ),
    _mutant(
        "a claim lost to another worker ends no count of problems",
        f"{BATCHES}/running.py",
        "        is_problem = None\n",
        "        is_problem = False\n",
        f"{BATCH_TESTS}/test_running.py"
        "::test_a_claim_lost_to_another_worker_ends_no_count_of_problems",
    ),
    _mutant(
        "a 429 on a pre-send check is no problem",
        f"{BATCHES}/running.py",
        "            if check.cause and check.cause != Cause.RATE_LIMITED:\n",
        "            if check.cause:\n",
        f"{BATCH_TESTS}/test_running.py"
        "::test_a_429_on_the_pre_send_check_is_no_problem_and_asks_the_org_nothing_more",
    ),
    _mutant(
        "after a row that was not claimed, rows are read again",
        f"{BATCHES}/running.py",
        " might stop the next ones too: a 429 or a pause.\n        self.next_rows.clear()\n",
        "\n",
        f"{BATCH_TESTS}/test_running.py"
        "::test_a_429_on_the_pre_send_check_is_no_problem_and_asks_the_org_nothing_more",
    ),
    _mutant(
        "a killed worker's row pauses where the first problem does",
        f"{BATCHES}/running.py",
        "    _pause_after_unknown(rows, actor=actor)\n",
        "",
        f"{BATCH_TESTS}/test_running.py"
        "::test_a_row_of_a_killed_worker_pauses_it_where_the_first_problem_does",
    ),
    _mutant(
        "no row is claimed beside a lost claim that will pause",
        f"{BATCHES}/running.py",
        "        due = due.exclude(Exists(lost_claims), batch__stop_at_first_problem=True)\n",
        "",
        f"{BATCH_TESTS}/test_running.py"
        "::test_a_row_of_a_killed_worker_pauses_it_where_the_first_problem_does",
    ),
    _mutant(
        "no row is claimed with others where the first problem pauses",
        f"{BATCHES}/running.py",
        "is_alone = self.is_separate or batch.stop_at_first_problem\n",
        "is_alone = self.is_separate\n",
        f"{BATCH_TESTS}/test_running.py"
        "::test_no_row_after_a_problem_before_its_claim_is_sent_where_the_first_problem_pauses_it",
    ),
    _mutant(
        "the claim requires a recent shared check",
        SENDING,
        "    if check_age > time_limits.SHARED_CHECK_WINDOW:\n        return False\n",
        "",
        f"{BATCH_TESTS}/test_running.py"
        "::test_a_row_is_not_claimed_when_its_shared_check_grew_old_during_the_claim",
    ),
    _mutant(
        "a row whose check a stop interrupts is not sent",
        f"{BATCHES}/running.py",
        "            if sendable and not self.is_stopped():\n",
        "            if sendable:\n",
        f"{BATCH_TESTS}/test_groups.py::test_a_stop_during_the_check_of_a_row_sends_nothing",
    ),
    _mutant(
        "a response that is not stored keeps no other out of the database",
        RECORDING,
        "            record_or_save([pair], actor=actor)\n",
        "            raise _save(attempt=pair[0], response=pair[1], actor=actor)\n",
        f"{BATCH_TESTS}/test_groups.py"
        "::test_a_response_that_is_not_stored_keeps_no_other_out_of_the_database",
    ),
    _mutant(
        "a check that outlasts its pass lets its own row be sent",
        f"{BATCHES}/running.py",
        "            if sendable and not self.is_stopped():\n",
        "            if sendable and not self._is_over():\n",
        f"{BATCH_TESTS}/test_groups.py"
        "::test_a_check_that_outlasts_its_pass_lets_its_own_row_be_sent",
    ),
    _mutant(
        "a row whose time ended during its check is not claimed",
        SENDING,
        "    return not (deletion.state == State.WAITING and states.has_expired(",
        "    return not (False and states.has_expired(",
        f"{BATCH_TESTS}/test_groups.py::test_a_row_whose_time_ends_after_its_check_is_not_sent",
    ),
    _mutant(
        "a row that changed before its group was claimed is left out",
        TRANSITIONS,
        "            if unchanged.update(**columns) != len(group):\n                return False\n",
        "            unchanged.update(**columns)\n",
        f"{BATCH_TESTS}/test_groups.py"
        "::test_a_row_withdrawn_after_its_check_is_left_out_of_its_group",
    ),
    _mutant(
        "a check that shows a low limit stops the next rows",
        f"{BATCHES}/running.py",
        "            if any(limit.is_low for limit in result.rate_limits):\n",
        "            if False:\n",
        f"{BATCH_TESTS}/test_groups.py"
        "::test_no_further_row_is_sent_after_a_check_that_shows_a_low_limit",
    ),
    _mutant(
        "a decision about a hidden connection is not shown",
        "connections/access_reviews/progress.py",
        "    if decision is None or visibility.hidden_connections([key], actor=actor):\n",
        "    if decision is None:\n",
        "tests/access_reviews/test_planning.py"
        "::test_a_decision_about_a_hidden_connection_is_not_shown",
    ),
    _mutant(
        "a check is stored before its rows are claimed",
        f"{BATCHES}/running.py",
        "        storing.store(result, actor=self.actor)\n",
        "",
        f"{BATCH_TESTS}/test_groups.py::test_a_check_is_stored_before_its_rows_are_claimed",
    ),
    _mutant(
        "after a response that says that the rate limit is low, no row is claimed",
        f"{BATCHES}/running.py",
        "                if response.rate_limit and response.rate_limit.is_low:\n",
        "                if False:\n",
        f"{BATCH_TESTS}/test_groups.py"
        "::test_after_a_response_that_says_that_the_limit_is_low_no_row_is_claimed",
    ),
    _mutant(
        "once it is to stop, no row is claimed",
        f"{BATCHES}/running.py",
        "self.failure is not None or self.is_stopped() or time",
        "self.failure is not None or time",
        f"{BATCH_TESTS}/test_groups.py::test_once_it_is_to_stop_no_row_is_claimed",
    ),
    _mutant(
        "after a claim of several rows failed, each is claimed separately",
        f"{BATCHES}/running.py",
        "        self.is_separate = True\n",
        "",
        f"{BATCH_TESTS}/test_running.py::test_a_row_that_can_not_be_handled_stops_no_other",
    ),
    _mutant(
        "what fails after a response keeps no other from being recorded",
        f"{BATCHES}/running.py",
        "        except Exception as error:  # noqa: BLE001 - as above\n            self",
        "        except ZeroDivisionError as error:\n            self",
        f"{BATCH_TESTS}/test_groups.py"
        "::test_what_fails_after_a_response_keeps_no_other_response_from_being_recorded",
    ),
    _mutant(
        "an attempted row ends after the clock was set back",
        f"{BATCHES}/running.py",
        "    is_over |= Q(epoch__gt=0, expires_at__gt=ahead + time_limits.RETRY_WINDOW_OF_ROW)\n",
        "",
        f"{BATCH_TESTS}/test_running.py"
        "::test_an_attempted_row_ends_after_the_clock_is_set_back_paused_or_not",
    ),
    _mutant(
        "the 15 minutes of a row run from the reset that holds its org back",
        f"{BATCHES}/running.py",
        "    _extend_rows_held_back(now=now)\n",
        "",
        f"{BATCH_TESTS}/test_running.py"
        "::test_an_attempted_row_waits_for_a_reset_that_another_response_moved",
    ),
    _mutant(
        "a row waits for a reset before which no worker ran",
        f"{BATCHES}/running.py",
        "reset_after=now - time_limits.SENDING_WINDOW, now=now",
        "reset_after=now, now=now",
        f"{BATCH_TESTS}/test_running.py"
        "::test_an_attempted_row_waits_for_a_reset_that_another_response_moved",
    ),
    _mutant(
        "a row waits for a reset until 24 hours after the confirmation",
        f"{BATCHES}/running.py",
        "        _update_in_order(in_time.filter(expires_at__lt=ends_at),",
        "        _update_in_order(in_time.filter(expires_at__lt=ends_at, confirmed_at__gte="
        "limit.resets_at + time_limits.SENDING_WINDOW - time_limits.QUEUE_WINDOW),",
        f"{BATCH_TESTS}/test_running.py"
        "::test_an_attempted_row_waits_for_a_moved_reset_until_24_hours_after_the_confirmation",
    ),
    _mutant(
        "a row waits for a reset no longer than 24 hours after the confirmation",
        f"{BATCHES}/running.py",
        "ends_at = Least(limit.resets_at + time_limits.SENDING_WINDOW, queue_ends_at)",
        "ends_at = Least(limit.resets_at + time_limits.SENDING_WINDOW, queue_ends_at"
        " + time_limits.QUEUE_WINDOW)",
        f"{BATCH_TESTS}/test_running.py"
        "::test_an_attempted_row_waits_for_a_moved_reset_until_24_hours_after_the_confirmation",
    ),
    _mutant_on_postgresql(
        "rows are extended in the order in which claims lock them",
        f"{BATCHES}/running.py",
        '        locked = rows.select_for_update(no_key=True, of=("self",)).order_by("pk")\n'
        '        pks = list(locked.values_list("pk", flat=True))\n',
        '        pks = list(rows.values_list("pk", flat=True))\n',
        f"{BATCH_TESTS}/test_concurrency.py"
        "::test_rows_are_extended_in_the_order_in_which_claims_lock_them",
    ),
    _mutant(
        "a row whose time was over before a rate limit was low is never sent again",
        f"{BATCHES}/running.py",
        "        in_time = rows.filter(expires_at__gte=limit.observed_at)\n",
        "        in_time = rows\n",
        f"{BATCH_TESTS}/test_running.py"
        "::test_a_row_whose_time_was_over_before_a_limit_was_low_is_not_sent",
    ),
    _mutant(
        "what another access review decided to keep is not planned alone",
        "connections/access_reviews/deleting.py",
        "        if all(row.key in kept for row in unplanned):\n",
        "        if not unplanned:\n",
        "tests/access_reviews/test_planning.py"
        "::test_a_decision_to_keep_holds_back_older_plans_also_after_its_last_day",
        "tests/access_reviews/test_planning.py"
        "::test_a_newer_access_review_can_keep_what_an_older_one_decided_to_delete",
    ),
    _mutant(
        "what an access review decided to keep is not deleted by an older plan",
        f"{BATCHES}/facts.py",
        "        if key in self.kept:\n            return RowProblem.KEPT\n",
        "",
        "tests/access_reviews/test_planning.py"
        "::test_a_connection_kept_since_the_plan_is_not_deleted",
    ),
    _mutant(
        "what an access review decided to keep after the request is not confirmed",
        f"{BATCHES}/confirming.py",
        "        require_none_kept(batch)\n",
        "",
        "tests/access_reviews/test_planning.py"
        "::test_an_approved_plan_with_a_connection_to_keep_since_can_not_be_confirmed",
    ),
    _mutant(
        "what an access review decided to keep after the confirmation is not resumed",
        f"{BATCHES}/stopping.py",
        "        confirming.require_none_kept(batch)\n",
        "",
        "tests/access_reviews/test_planning.py"
        "::test_a_paused_plan_with_a_connection_to_keep_since_can_not_be_resumed",
    ),
    _mutant(
        "what an access review decides to keep during the request is not requested",
        f"{BATCHES}/requesting.py",
        "            if is_changed or (batch.is_from_review and facts.find_kept(batch=batch)):\n",
        "            if is_changed:\n",
        "tests/access_reviews/test_planning.py"
        "::test_a_connection_kept_by_a_decision_during_the_request_is_not_deleted",
    ),
    _mutant(
        "a decision to keep pauses what would delete the connection",
        "connections/access_reviews/decisions.py",
        "            stopping.pause_where_kept(connection_ids=ids, actor=actor)\n",
        "            pass\n",
        "tests/access_reviews/test_planning.py"
        "::test_a_running_plan_with_a_connection_to_keep_since_is_paused",
    ),
    _mutant(
        "a deletion that people still decide about says who decided to keep its connection",
        "connections/web/deletions/detail.py",
        "        **keep_context(objections.kept, now=now),\n",
        "",
        "tests/access_reviews/test_planning.py"
        "::test_the_page_of_a_requested_deletion_says_who_decided_to_keep_the_connection",
    ),
    _mutant(
        "an open page shows a decision to keep the connection",
        "connections/web/deletions/detail.py",
        "        [objection.pk for objection in objections if objection],\n",
        "",
        "tests/access_reviews/test_planning.py"
        "::test_the_page_of_a_requested_deletion_says_who_decided_to_keep_the_connection",
    ),
    _mutant(
        "an open page shows when the confirmation becomes possible",
        "connections/web/deletions/detail.py",
        "        next_steps,\n",
        "",
        "tests/deletions/approvals/test_approving.py"
        "::test_an_open_page_offers_the_confirmation_again_once_it_would_be_accepted",
    ),
    _mutant(
        "a contradicted deletion says which attempt might have worked",
        "connections/deletions/texts.py",
        "                or attempt_facts.sent_by([attempt]) == Sent.UNCERTAIN\n",
        "",
        "tests/deletions/test_texts.py"
        "::test_a_contradicted_deletion_says_which_attempt_might_have_worked",
    ),
    _mutant(
        "the navigation counts connections that are kept until a date that has passed",
        "connections/access_reviews/progress.py",
        "    return Exists(undecided) | Exists(of_ended)\n",
        "    return Q(Exists(undecided))\n",
        "tests/access_reviews/test_progress.py::test_the_navigation_counts_what_has_to_be_decided"
        "_again_as_the_overview_does",
    ),
    _mutant(
        "the navigation counts connections that changed after their decision",
        "connections/web/framework/navigation.py",
        "    if waiting.pop(_CHANGED_SINCE_DECIDED, 0):\n",
        "    if waiting.pop(_CHANGED_SINCE_DECIDED, 0) and False:\n",
        "tests/access_reviews/test_progress.py::test_the_navigation_counts_what_has_to_be_decided"
        "_again_as_the_overview_does",
    ),
    _mutant(
        "an expired request without a worker says so",
        "connections/deletions/states.py",
        "    if deletion.state in {State.REQUESTED, State.APPROVED}"
        " and has_expired(deletion, now=now):\n",
        "    if False:\n",
        "tests/deletions/approvals/test_pages.py::test_an_expired_request_says_so_everywhere_and_can"
        "_only_be_withdrawn_while_no_worker_runs",
    ),
    _mutant(
        "a confirmation in time is shown as being checked after its deadline",
        "connections/deletions/states.py",
        "    if not deletion.is_settled and is_being_rechecked(deletion, now=now):\n",
        "    if is_being_rechecked(deletion, now=now) and not has_expired(deletion, now=now):\n",
        "tests/flows/test_in_flight.py"
        "::test_a_confirmation_in_time_is_shown_as_being_checked_after_its_deadline",
    ),
    _mutant(
        "an expired request can't be approved, also while no worker runs",
        "connections/deletions/states.py",
        "    return is_awaiting_approval(deletion) and not is_over\n",
        "    return is_awaiting_approval(deletion)\n",
        "tests/deletions/approvals/test_approving.py"
        "::test_24_hours_after_the_request_it_cannot_be_approved_and_expires",
    ),
    _mutant(
        "an expired request waits for nobody in the navigation",
        "connections/web/framework/navigation.py",
        "    lacks_approvals = Q(state=State.REQUESTED) & ~has_expired\n",
        "    lacks_approvals = Q(state=State.REQUESTED)\n",
        "tests/deletions/approvals/test_pages.py::test_an_expired_request_says_so_everywhere_and_can"
        "_only_be_withdrawn_while_no_worker_runs",
    ),
    _mutant(
        "an expired bulk deletion waits for nobody",
        f"{BATCHES}/progress.py",
        "        ~drafts.has_expired_in_query(now=now), state=",
        "        state=",
        "tests/web/batches/test_pages.py::test_an_expired_request_says_so_everywhere_and_can_only_be"
        "_canceled_while_no_worker_runs",
    ),
    _mutant(
        "a decision to keep that has ended holds back older plans and is shown",
        "connections/models/access_reviews.py",
        "    return AccessReviewDecision.objects.filter(~Exists(later))\n",
        "    return AccessReviewDecision.objects.filter(~Exists(later), keep_until=None)\n",
        "tests/access_reviews/test_planning.py"
        "::test_a_decision_to_keep_holds_back_older_plans_also_after_its_last_day",
    ),
    _mutant(
        "a decision to delete replaces an earlier one to keep",
        "connections/models/access_reviews.py",
        '        pk__gt=OuterRef("pk"),\n',
        "        pk__lt=0,\n",
        "tests/access_reviews/test_planning.py"
        "::test_a_decision_to_keep_holds_back_older_plans_also_after_its_last_day",
    ),
    _mutant_on_postgresql(
        "a decision to keep waits for a confirmation in progress",
        f"{BATCHES}/stopping.py",
        "        drafts.lock_batch(batch)\n        if confirming.list_kept(batch):\n",
        "        if confirming.list_kept(batch):\n",
        "tests/access_reviews/test_concurrency.py"
        "::test_a_connection_kept_by_a_decision_during_the_confirmation_is_not_deleted",
    ),
    _mutant_on_postgresql(
        "a request waits for decisions in progress",
        f"{BATCHES}/requesting.py",
        "            _wait_for_decisions(batch)\n",
        "",
        "tests/access_reviews/test_concurrency.py::test_a_plan_made_and_requested_during_a_decision_to_keep_its"
        "_connection_does_not_run",
    ),
    _mutant(
        "what changed after an access review closed is not planned",
        "connections/access_reviews/deleting.py",
        "    if not review.is_closed:\n",
        "    if True:\n",
        "tests/access_reviews/test_planning.py::test_what_changed_after_the_closing_is_not_planned",
    ),
    _mutant(
        "a new plan has what an older plan can no longer delete",
        "connections/access_reviews/deleting.py",
        "    rows = rows.exclude(problem__in=(RowProblem.CHANGED, RowProblem.KEPT))\n",
        "",
        "tests/access_reviews/test_planning.py"
        "::test_what_is_decided_to_delete_once_more_is_planned_again",
    ),
    _mutant(
        "a row that was extended since it was read does not expire",
        "connections/deletions/lifecycle.py",
        '    deletion.refresh_from_db(fields=["expires_at"])\n',
        "",
        f"{BATCH_TESTS}/test_running.py"
        "::test_a_row_that_another_worker_extended_since_it_was_read_does_not_expire",
    ),
    _mutant(
        "the filter by a hidden bulk deletion finds nothing",
        "connections/deletions/history.py",
        "    return rows.filter(batch__in=visibility.visible_batches(actor=actor))"
        " if filters.batch else rows\n",
        "    return rows\n",
        "tests/web/batches/test_pages.py"
        "::test_a_hidden_bulk_deletion_does_not_show_through_its_visible_row",
    ),
    _mutant(
        "the chart counts nothing that is hidden",
        "connections/deletions/history.py",
        "    rows = visibility.visible(_visible_rows(filters, actor=actor), actor=actor)"
        ".order_by()\n",
        "    rows = _visible_rows(filters, actor=actor).order_by()\n",
        "tests/deletions/history/test_chart.py::test_the_chart_counts_nothing_that_is_hidden",
    ),
    _mutant(
        "earlier deletions with a hidden credential are not shown",
        "connections/deletions/earlier.py",
        "    ended = visibility.visible(Deletion.objects.filter(**named, settled_at__lt=before),"
        " actor=actor)\n",
        "    ended = Deletion.objects.filter(**named, settled_at__lt=before)\n",
        "tests/web/batches/test_pages.py"
        "::test_earlier_decisions_with_a_hidden_credential_are_not_shown",
    ),
    _mutant(
        "a plan doesn't name a hidden credential that requires approval",
        "connections/web/batches/detail.py",
        '("another org" if credential.pk in hidden else credential.name, credential.policy)',
        "(credential.name, credential.policy)",
        "tests/web/batches/test_pages.py"
        "::test_a_credential_that_is_hidden_is_not_named_as_the_one_that_requires_approval",
    ),
    _mutant(
        "connections that are split off keep the approvals that they need",
        f"{BATCHES}/splitting.py",
        "    drafts.set_digest(draft, rows=copies)\n",
        "    draft.policy, draft.digest = ApprovalPolicy.NONE, batch.digest\n",
        "tests/web/batches/test_pages.py::test_a_plan_says_what_needs_approval_and_splits_it_off",
    ),
    _mutant(
        "no credential but the named one sends a line of a plan file",
        f"{BATCHES}/drafts.py",
        "        if named.is_credential_fixed and not preferred:\n",
        "        if False:\n",
        f"{COMMAND_TESTS}::test_only_the_named_credential_sends_a_line",
    ),
    _mutant(
        "the command sends no rows of other bulk deletions",
        f"{BATCHES}/foreground.py",
        "is_stopped=self.is_stopped, batch=self.batch)",
        "is_stopped=self.is_stopped)",
        f"{COMMAND_TESTS}::test_rows_of_other_bulk_deletions_are_not_sent",
    ),
    _mutant(
        "a signal before the first claim cancels what the command requested",
        "connections/management/commands/delete_org_connections.py",
        "            if is_new and self.stop.is_requested and",
        "            if False and",
        f"{COMMAND_TESTS}::test_a_signal_while_it_requests_cancels_the_bulk_deletion",
    ),
    _mutant(
        "why a bulk deletion was paused is recorded",
        "connections/batches/stopping.py",
        '"paused_at", "paused_by_name", "pause_cause", "pause_credential_name")',
        '"paused_at", "paused_by_name")',
        f"{BATCH_TESTS}/test_evidence.py::test_a_pause_after_problems_that_was_changed_is_named",
    ),
    _mutant(
        "a name that an erased person shared is no difference",
        "connections/evidence/records.py",
        "                rows[table.name][column] = name\n",
        "                pass\n",
        f"{BATCH_TESTS}/test_evidence.py::test_erasing_one_of_two_people_with_the_same_name_is_no_difference",
    ),
    _mutant(
        "a dry run of an open plan sends nothing",
        "connections/management/commands/delete_org_connections.py",
        '            if options["dry_run"]:\n                return _dry_run_of_open(open_plan)\n',
        "",
        f"{COMMAND_TESTS}::test_a_dry_run_of_an_open_plan_reports_what_the_run_would_do_with_it",
    ),
    _mutant(
        "a dry run exits with 2 when a line cannot be used",
        "connections/management/commands/delete_org_connections.py",
        "    if failed:\n        return USAGE\n    return _NEEDS_APPROVAL",
        "    return _NEEDS_APPROVAL",
        f"{COMMAND_TESTS}::test_a_dry_run_requests_nothing_and_exits_as_the_run_would_begin",
        f"{COMMAND_TESTS}::test_a_dry_run_of_an_open_plan_reports_what_the_run_would_do_with_it",
    ),
    _mutant(
        "a plan file is requested once while its bulk deletion is open",
        "connections/management/commands/delete_org_connections.py",
        "        open_plan = plan_files.find_open_plan(lines=lines)\n",
        "        open_plan = None\n",
        f"{COMMAND_TESTS}::test_a_paused_bulk_deletion_is_named_and_a_running_one_is_continued",
    ),
    _mutant(
        "a hidden connection looks like an unknown one in a plan",
        f"{BATCHES}/facts.py",
        "    rows = current_snapshots(actor=actor)",
        "    rows = OrgConnectionSnapshot.objects.filter(is_current=True)",
        f"{BATCH_TESTS}/test_drafts.py::test_a_hidden_connection_looks_like_an_unknown_one",
    ),
)

ACCESS_REVIEWS = "connections/access_reviews"
DECIDING = "tests/access_reviews/test_deciding.py"
CLOSING = "tests/access_reviews/test_closing.py"
GONE_ROWS = "tests/access_reviews/test_gone.py"
REVIEW_RULES = "tests/access_reviews/test_database.py"
AN_OPEN_RECORD = f"{REVIEW_RULES}::test_an_open_access_review_keeps_its_record"
LISTED_LATER = (
    "tests/access_reviews/test_filters.py"
    "::test_a_closed_access_review_has_nothing_that_a_reader_could_not_see_before_its_closing"
)
A_CLOSED_RECORD = f"{REVIEW_RULES}::test_a_closed_access_review_keeps_its_record"

REVIEWED_ACCESS = (
    _mutant(
        "a closed access review takes no decision",
        f"{ACCESS_REVIEWS}/decisions.py",
        "    if review.is_closed:\n        raise ConflictError(CLOSED)\n",
        "",
        f"{DECIDING}::test_a_closed_access_review_takes_no_decision",
    ),
    _mutant_on_postgresql(
        "an access review is locked before a decision or its closing",
        f"{ACCESS_REVIEWS}/decisions.py",
        "from_queryset=AccessReview.objects.select_for_update(no_key=True)",
        "",
        "tests/access_reviews/test_concurrency.py",
    ),
    _mutant_on_postgresql(
        "an access review starts with rows and coverage from the same syncs",
        f"{ACCESS_REVIEWS}/population.py",
        "        storing.lock_snapshots()\n",
        "",
        "tests/access_reviews/test_concurrency.py",
    ),
    _mutant_on_postgresql(
        "an access review closes with states and coverage from the same syncs",
        f"{ACCESS_REVIEWS}/closing.py",
        "        storing.lock_snapshots()\n",
        "",
        "tests/access_reviews/test_concurrency.py",
    ),
    _mutant(
        "an access review closes with the pending rows that the page showed",
        f"{ACCESS_REVIEWS}/closing.py",
        "        if shown_pending and shown_pending != pending_digest(rows):\n",
        "        if False:\n",
        "tests/access_reviews/test_pages.py"
        "::test_closing_is_refused_when_other_connections_are_left_open_than_the_page_showed",
    ),
    _mutant(
        "only a reviewer decides",
        f"{ACCESS_REVIEWS}/decisions.py",
        "    permissions.require(\n"
        '        permissions.can_decide(actor, review=review), "decide in this access review"\n'
        "    )\n",
        "",
        f"{DECIDING}::test_only_a_reviewer_decides",
    ),
    _mutant(
        "a named reviewer is one of this access review",
        "connections/access/permissions.py",
        "review.is_for_everyone or review.reviewers.filter(person=actor.person).exists()",
        "True",
        f"{DECIDING}::test_only_a_reviewer_decides",
    ),
    _mutant(
        "a hidden connection takes no decision",
        f"{ACCESS_REVIEWS}/decisions.py",
        "    rows = [row for row in chosen if row.pk in visible_ids]\n",
        "    rows = chosen\n",
        f"{DECIDING}::test_a_hidden_connection_is_answered_like_one_that_is_not_in_the_review",
    ),
    _mutant(
        "hidden rows of an access review are not shown",
        "connections/access/visibility.py",
        "    return rows.filter(Exists(listed.exclude(credential__in=hidden)))",
        "    return rows",
        "tests/access_reviews/test_progress.py"
        "::test_an_access_review_without_a_visible_row_is_not_found",
    ),
    _mutant(
        "a closed access review has no row that was hidden until its closing",
        "connections/access/visibility.py",
        '        first_seen_at__lte=Coalesce(OuterRef("review__closed_at"), F("first_seen_at")),\n',
        "",
        LISTED_LATER,
    ),
    _mutant(
        "a closed access review has no match that was hidden until its closing",
        f"{ACCESS_REVIEWS}/closing.py",
        "(keys, actor=actor, until=review.closed_at)",
        "(keys, actor=actor)",
        LISTED_LATER,
    ),
    _mutant(
        "a decision links to no access review that the reader can't see",
        "connections/access/visibility.py",
        "    reviews = visible_access_reviews(actor=actor).filter(pk__in=review_ids)\n",
        "    reviews = AccessReview.objects.filter(pk__in=review_ids)\n",
        "tests/access_reviews/test_filters.py"
        "::test_a_decision_of_an_access_review_that_a_reader_cannot_see_is_shown_without_a_link",
    ),
    _mutant(
        "filters of an access review name nothing that only hidden credentials listed",
        f"{ACCESS_REVIEWS}/details.py",
        "    if visibility_of(actor).hidden:\n        # Instead",
        "    if False:\n        # Instead",
        "tests/access_reviews/test_filters.py"
        "::test_what_only_hidden_credentials_list_is_neither_a_choice_nor_found",
    ),
    _mutant(
        "nobody decides about something that the page did not show",
        f"{ACCESS_REVIEWS}/decisions.py",
        "    if shown is not None and shown != visible.digest:",
        "    if False:",
        f"{DECIDING}::test_nobody_decides_about_something_that_the_page_did_not_show",
    ),
    _mutant(
        "a decision covers no change that its reviewer can't see",
        f"{ACCESS_REVIEWS}/decisions.py",
        "    if not visible.agrees_with(known):",
        "    if False:",
        f"{DECIDING}::test_what_only_a_hidden_credential_shows_yet_is_not_covered_by_a_decision",
    ),
    _mutant(
        "a changed row is pending again",
        f"{ACCESS_REVIEWS}/rows.py",
        "        return self.review_digest == digest and not self.has_ended(today=today)\n",
        "        return not self.has_ended(today=today)\n",
        f"{DECIDING}::test_a_row_whose_data_types_changed_is_pending_again",
    ),
    _mutant(
        "a decision to keep ends after its last day",
        f"{ACCESS_REVIEWS}/rows.py",
        "        return self.keep_until is not None and self.keep_until < today\n",
        "        return False\n",
        f"{DECIDING}::test_keep_until_a_date_counts_through_that_day",
    ),
    _mutant(
        "retiring a credential keeps the rows that it listed",
        f"{ACCESS_REVIEWS}/current.py",
        "    return _merge(retired, is_listed=False) | _merge(in_use, is_listed=True)\n",
        "    return _merge(in_use, is_listed=True)\n",
        f"{GONE_ROWS}::test_retiring_its_credential_keeps_the_state_of_a_row",
    ),
    _mutant(
        "nobody decides about what only hidden credentials list now",
        f"{ACCESS_REVIEWS}/current.py",
        "        if visible is None or visible.is_listed != self.known[key].is_listed:\n",
        "        if visible is None:\n",
        f"{GONE_ROWS}::test_only_people_who_see_a_credential_decide_on_what_it_alone_lists_now",
    ),
    _mutant(
        "a decision to delete outlives its connection",
        f"{ACCESS_REVIEWS}/rows.py",
        "        return RowState.DELETE\n    return RowState.GONE\n",
        "        return RowState.GONE\n    return RowState.GONE\n",
        f"{GONE_ROWS}::test_only_a_decision_to_delete_outlives_its_connection",
    ),
    _mutant(
        "a decision to delete that no longer counted does not outlive its connection",
        f"{ACCESS_REVIEWS}/rows.py",
        " and newest.review_digest == before.digest:\n",
        ":\n",
        f"{GONE_ROWS}::test_only_a_decision_to_delete_outlives_its_connection",
    ),
    _mutant(
        "an access review with pending rows closes only with a reason",
        f"{ACCESS_REVIEWS}/closing.py",
        "        if pending and not has_visible_text(open_reason):",
        "        if False:",
        f"{CLOSING}::test_a_pending_row_needs_a_reason",
    ),
    _mutant(
        "a connection with a deletion is not planned again",
        f"{ACCESS_REVIEWS}/deleting.py",
        " and row.key not in handled]",
        "]",
        "tests/access_reviews/test_planning.py"
        "::test_a_connection_with_a_deletion_is_not_planned_again_and_links_to_it",
    ),
    _mutant(
        "a connection in an open draft is not planned again",
        f"{ACCESS_REVIEWS}/deleting.py",
        "        unplanned = [row for row in rows if row.key not in drafts_by_key]\n",
        "        unplanned = rows\n",
        "tests/access_reviews/test_planning.py"
        "::test_planning_again_leads_to_the_open_draft_until_another_connection_is_decided",
    ),
    _mutant_on_postgresql(
        "an access review is locked while its deletions are planned",
        f"{ACCESS_REVIEWS}/deleting.py",
        "        AccessReview.objects.select_for_update(no_key=True).get(pk=review.pk)\n",
        "",
        "tests/access_reviews/test_concurrency.py",
    ),
    _mutant(
        "a reminder that is due at the start is skipped",
        f"{ACCESS_REVIEWS}/reminders.py",
        "due_at__lte=now + before, created_at__lte=starts",
        "due_at__lte=now + before",
        "tests/access_reviews/test_reminders.py"
        "::test_a_reminder_that_is_due_at_the_start_is_skipped",
    ),
    _mutant(
        "a reminder is sent once",
        f"{ACCESS_REVIEWS}/reminders.py",
        "        review.save(update_fields=[_sent_at_field(reminder) for reminder in due])\n",
        "",
        "tests/access_reviews/test_reminders.py"
        "::test_each_reviewer_is_reminded_three_times_and_never_twice",
    ),
    _mutant(
        "a trigger that keeps what an access review started with",
        RULES,
        "            REVIEW_KEPT,\n",
        '            "1 = 1",\n',
        AN_OPEN_RECORD,
    ),
    _mutant(
        "a trigger that keeps named reviewers",
        RULES,
        "            STAYS_NAMED,\n",
        '            "1 = 1",\n',
        AN_OPEN_RECORD,
    ),
    _mutant(
        "a trigger that keeps a closed access review",
        RULES,
        "            STAYS_CLOSED,\n",
        '            "1 = 1",\n',
        A_CLOSED_RECORD,
    ),
    _mutant(
        "a trigger against a closing without final states",
        RULES,
        "            CLOSES_COMPLETE,\n",
        '            "1 = 1",\n',
        AN_OPEN_RECORD,
        f"{REVIEW_RULES}::test_pending_rows_are_left_open_only_with_a_reason",
    ),
    _mutant(
        "a trigger against reviewers that are named after the closing",
        RULES,
        "            NAMED_WHILE_OPEN,\n",
        '            "1 = 1",\n',
        f"{REVIEW_RULES}::test_only_an_open_access_review_with_named_reviewers_gets_another",
    ),
    _mutant(
        "a trigger against removing reviewers after the closing",
        RULES,
        "            REMOVED_WHILE_OPEN,\n",
        '            "1 = 1",\n',
        A_CLOSED_RECORD,
    ),
    _mutant(
        "a decision is made by someone who is still a reviewer",
        f"{ACCESS_REVIEWS}/decisions.py",
        "        # The reviewers might have changed since the check above.\n"
        "        _require_reviewer(review, actor=actor)\n",
        "",
        "tests/access_reviews/test_reviewers.py"
        "::test_a_reviewer_who_is_replaced_during_a_decision_decides_nothing",
    ),
    _mutant(
        "the verifier knows who was a reviewer when a decision was made",
        f"{VERIFIER}/rules.py",
        '        reviewers = event.details.get("reviewers", reviewers)\n',
        '        reviewers = reviewers or event.details.get("reviewers")\n',
        "tests/access_reviews/test_reviewers.py"
        "::test_a_decision_stays_valid_when_its_reviewer_is_replaced",
    ),
    _mutant(
        "a trigger that keeps reviewers",
        RULES,
        '"UPDATE", REVIEWER_KEPT, ',
        '"UPDATE", "1 = 1", ',
        AN_OPEN_RECORD,
    ),
    _mutant(
        "a trigger against rows that are added later",
        RULES,
        "            IN_POPULATION,\n",
        '            "1 = 1",\n',
        f"{REVIEW_RULES}::test_no_row_is_added_after_the_start",
    ),
    _mutant(
        "a trigger that keeps the rows of an access review",
        RULES,
        "            CLOSES_ROW,\n",
        '            "1 = 1",\n',
        AN_OPEN_RECORD,
    ),
    _mutant(
        "a trigger against decisions in a closed access review",
        RULES,
        "            DECIDES_OPEN_ROW,\n",
        '            "1 = 1",\n',
        f"{REVIEW_RULES}::test_a_closed_access_review_gets_no_decision",
    ),
    _mutant(
        "a trigger that keeps the decisions of access reviews",
        RULES,
        "            REVIEW_DECISION_KEPT,\n",
        '            "1 = 1",\n',
        AN_OPEN_RECORD,
    ),
)

SCRIPT_TESTS = "tests/orgadmin/test_script.py"
STATIC_FILES = "connections/operations/static_files.py"
STATIC_FILES_TESTS = "tests/operations/test_static_files.py"

INSTALLATION = (
    _mutant(
        "a line of another kind in the environment file stops everything",
        "run",
        '                fail "$1, line $number: expected',
        '                continue; fail "$1, line $number: expected',
        f"{SCRIPT_TESTS}::test_a_line_of_another_kind_is_named_by_its_number_and_nothing_starts",
    ),
    _mutant(
        "a missing environment file stops everything",
        "run",
        '    if ! [ -f "$1" ] || ! [ -r "$1" ]; then',
        '    if ! [ -e "$1" ]; then return; elif ! [ -r "$1" ]; then',
        f"{SCRIPT_TESTS}::test_without_its_environment_file_nothing_starts",
    ),
    _mutant(
        "values of the environment file are not expanded",
        "run",
        '        export "$name=$value"',
        '        eval "export $name=\\"$value\\""',
        f"{SCRIPT_TESTS}::test_every_value_of_the_environment_file_is_taken_as_it_is",
    ),
    _mutant(
        "each start warns of secrets that everyone can read",
        "connections/management/commands/serve.py",
        "        log_exposed_files()\n",
        "",
        "tests/management/test_serve.py"
        "::test_one_line_for_each_start_warns_of_secrets_that_everyone_can_read",
    ),
    _mutant(
        "damaged static files aren't used",
        STATIC_FILES,
        "            if directory.name == _name_of(directory, sources=sources):\n",
        "            if directory.exists():\n",
        f"{STATIC_FILES_TESTS}::test_damaged_files_are_collected_again",
    ),
    _mutant(
        "static files are on the disk before they are used",
        STATIC_FILES,
        "            _sync(path)\n",
        "            continue\n",
        f"{STATIC_FILES_TESTS}::test_a_directory_is_on_the_disk_before_it_gets_its_name",
    ),
    _mutant(
        "one process at a time collects static files",
        STATIC_FILES,
        "        fcntl.flock(lock, fcntl.LOCK_EX)\n",
        "",
        f"{STATIC_FILES_TESTS}::test_concurrent_processes_use_the_same_complete_directory",
    ),
)

MUTANTS = (
    *NETWORK,
    *RECORD,
    *REVIEW,
    *WITHIN,
    *KEEPING,
    *REAUTHENTICATION,
    *NOTICES,
    *EVIDENCE,
    *BUNDLES,
    *SIGN_IN,
    *FOUR_EYES,
    *TRUE_SENTENCES,
    *ACCESS,
    *AVAILABILITY,
    *PAGES_AND_INPUTS,
    *APPROVAL_ROUNDS,
    *FROZEN_RESULTS,
    *PEERS,
    *WRONG_CLOCK,
    *INPUTS_AND_FILES,
    *SLOW_PROVIDER,
    *SIGNALS,
    *NO_WRITES,
    *RACES,
    *SENDING_AGAIN,
    *PARALLEL_SYNCS,
    *BULK_DELETIONS,
    *REVIEWED_ACCESS,
    *INSTALLATION,
)

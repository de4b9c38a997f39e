//! The events and actions that were known when this was written.
//! <https://docs.github.com/en/webhooks/webhook-events-and-payloads>

/// Events that no pull request changes by.
pub(super) const OTHERS: [&str; 49] = [
    "branch_protection_configuration",
    "branch_protection_rule",
    "code_scanning_alert",
    "commit_comment",
    "custom_property",
    "custom_property_values",
    "dependabot_alert",
    "deploy_key",
    "deployment_protection_rule",
    "deployment_review",
    "discussion",
    "discussion_comment",
    "fork",
    "github_app_authorization",
    "gollum",
    "installation_target",
    "issue_dependencies",
    "issues",
    "marketplace_purchase",
    "member",
    "membership",
    "org_block",
    "organization",
    "package",
    "page_build",
    "personal_access_token_request",
    "ping",
    "project",
    "project_card",
    "project_column",
    "projects_v2",
    "projects_v2_item",
    "projects_v2_status_update",
    "registry_package",
    "release",
    "repository_advisory",
    "repository_dispatch",
    "repository_import",
    "repository_ruleset",
    "repository_vulnerability_alert",
    "secret_scanning_alert",
    "secret_scanning_alert_location",
    "security_advisory",
    "sponsorship",
    "star",
    "sub_issues",
    "team",
    "team_add",
    "watch",
];

/// Events that are read, with their actions; those of others do not matter.
pub(super) const READ: [(&str, &[&str]); 23] = [
    (
        "check_run",
        &["completed", "created", "requested_action", "rerequested"],
    ),
    ("check_suite", &["completed", "requested", "rerequested"]),
    ("create", &[]),
    ("delete", &[]),
    ("deployment", &["created"]),
    ("deployment_status", &["created"]),
    (
        "installation",
        &[
            "created",
            "deleted",
            "new_permissions_accepted",
            "suspend",
            "unsuspend",
        ],
    ),
    ("installation_repositories", &["added", "removed"]),
    (
        "issue_comment",
        &["created", "deleted", "edited", "pinned", "unpinned"],
    ),
    ("label", &["created", "deleted", "edited"]),
    ("merge_group", &["checks_requested", "destroyed"]),
    ("meta", &["deleted"]),
    (
        "milestone",
        &["closed", "created", "deleted", "edited", "opened"],
    ),
    ("public", &[]),
    (
        "pull_request",
        &[
            "assigned",
            "auto_merge_disabled",
            "auto_merge_enabled",
            "closed",
            "converted_to_draft",
            "demilestoned",
            "dequeued",
            "edited",
            "enqueued",
            "labeled",
            "locked",
            "milestoned",
            "opened",
            "ready_for_review",
            "reopened",
            "review_request_removed",
            "review_requested",
            "synchronize",
            "unassigned",
            "unlabeled",
            "unlocked",
        ],
    ),
    ("pull_request_review", &["dismissed", "edited", "submitted"]),
    (
        "pull_request_review_comment",
        &["created", "deleted", "edited"],
    ),
    ("pull_request_review_thread", &["resolved", "unresolved"]),
    ("push", &[]),
    (
        "repository",
        &[
            "archived",
            "created",
            "deleted",
            "edited",
            "privatized",
            "publicized",
            "renamed",
            "transferred",
            "unarchived",
        ],
    ),
    ("status", &[]),
    (
        "workflow_job",
        &["completed", "in_progress", "queued", "waiting"],
    ),
    ("workflow_run", &["completed", "in_progress", "requested"]),
];

/// Known, and nothing to anybody.
const SILENT: &str = "workflow_dispatch";

/// Whether an event is read.
pub(super) fn is_read(event: &str) -> bool {
    READ.iter().any(|(name, _)| *name == event)
}

/// The event's name as a label: one that is not known has none of its own.
pub(crate) fn label(event: &str) -> &'static str {
    let read = READ.into_iter().map(|(name, _)| name);
    let mut known = read.chain(OTHERS).chain([SILENT]);
    known.find(|name| *name == event).unwrap_or("other")
}

/// What of a delivery is not known, if anything: the event, or what happened.
pub(crate) fn unknown(event: &str, action: &str) -> Option<&'static str> {
    if let Some((_, actions)) = READ.iter().find(|(name, _)| *name == event) {
        let known = action.is_empty() || actions.contains(&action);
        return (!known).then_some("action");
    }
    (label(event) == "other").then_some("event")
}

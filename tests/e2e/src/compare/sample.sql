-- The tables that mirror sample.json, written by hand. A row of another repository, one of an earlier
-- head and one of a superseded run are there to be passed over.

INSERT INTO pull_request_contents BY NAME
SELECT
    'o/r' AS repository, 1 AS number, 'PR_1' AS id, 'R_1' AS repository_id,
    4000000001 AS full_database_id, 'https://github.com/o/r/pull/1' AS url, 'Title' AS title,
    'Body' AS body, 'MERGED' AS state, false AS is_draft, true AS locked, 'ann' AS author,
    'User' AS author_kind, TIMESTAMPTZ '2024-10-01 00:00:00Z' AS created_at,
    TIMESTAMPTZ '2024-10-02 00:00:00Z' AS updated_at, TIMESTAMPTZ '2024-10-02 00:00:00Z' AS closed_at,
    TIMESTAMPTZ '2024-10-02 00:00:00Z' AS merged_at, 'bors' AS merged_by, 'm1' AS merge_commit_oid,
    'APPROVED' AS review_decision, 'main' AS base_ref_name, 'b1' AS base_ref_oid,
    'work' AS head_ref_name, 'c2' AS head_ref_oid, 'ann/r' AS head_repository,
    true AS is_cross_repository, true AS maintainer_can_modify, 12 AS additions, 3 AS deletions,
    1 AS changed_files, 4 AS milestone_number, 'v4' AS milestone_title,
    TIMESTAMPTZ '2024-10-01 12:00:00Z' AS auto_merge_enabled_at, 'bob' AS auto_merge_enabled_by,
    'SQUASH' AS auto_merge_method, ['alpha', 'zeta'] AS label_names, 'v-1' AS version,
    true AS is_complete, '$fingerprint_1' AS fingerprint, 2 AS total_labels, 2 AS total_assignees,
    2 AS total_review_requests, 2 AS total_commits, 1 AS total_reviews, 1 AS total_review_threads,
    1 AS total_comments, 8 AS total_timeline, 1 AS total_closing_issues, 'FAILURE' AS checks_state,
    3 AS checks_total, 'FAILURE:1,IN_PROGRESS:1' AS check_run_counts,
    'SUCCESS:1' AS status_context_counts, '$contexts_1' AS contexts_digest;

INSERT INTO pull_request_contents BY NAME
SELECT
    'o/r' AS repository, 2 AS number, 'PR_2' AS id, 'R_1' AS repository_id,
    'https://github.com/o/r/pull/2' AS url, '' AS title, '' AS body, 'OPEN' AS state,
    true AS is_draft, false AS locked, TIMESTAMPTZ '2024-10-03 00:00:00Z' AS created_at,
    TIMESTAMPTZ '2024-10-03 00:00:00Z' AS updated_at, 'main' AS base_ref_name, 'b2' AS base_ref_oid,
    'try' AS head_ref_name, 'd1' AS head_ref_oid, false AS is_cross_repository,
    false AS maintainer_can_modify, 0 AS additions, 0 AS deletions, 0 AS changed_files,
    []::VARCHAR[] AS label_names, 'v-2' AS version, true AS is_complete,
    '$fingerprint_2' AS fingerprint, 0 AS total_labels, 0 AS total_assignees,
    0 AS total_review_requests, 0 AS total_commits, 0 AS total_reviews, 0 AS total_review_threads,
    0 AS total_comments, 0 AS total_timeline, 0 AS total_closing_issues;

INSERT INTO pull_request_observations BY NAME
SELECT 'o/r' AS repository, unnest([1, 2]) AS number, TIMESTAMPTZ '2024-10-04 00:00:00Z' AS landed_at;

INSERT INTO collections VALUES
    ('o/r', 1, 'labels', 'complete', 2, 2), ('o/r', 2, 'labels', 'complete', 0, 0),
    ('o/r', 1, 'assignees', 'complete', 2, 2), ('o/r', 2, 'assignees', 'complete', 0, 0),
    ('o/r', 1, 'review_requests', 'complete', 2, 2), ('o/r', 2, 'review_requests', 'complete', 0, 0),
    ('o/r', 1, 'files', 'complete', 1, 1), ('o/r', 2, 'files', 'complete', 0, 0),
    ('o/r', 1, 'commits', 'complete', 2, 2), ('o/r', 2, 'commits', 'complete', 0, 0),
    ('o/r', 1, 'reviews', 'complete', 1, 1), ('o/r', 2, 'reviews', 'complete', 0, 0),
    ('o/r', 1, 'review_threads', 'complete', 1, 1), ('o/r', 2, 'review_threads', 'complete', 0, 0),
    ('o/r', 1, 'comments', 'complete', 1, 1), ('o/r', 2, 'comments', 'complete', 0, 0),
    ('o/r', 1, 'timeline', 'complete', 8, 8), ('o/r', 2, 'timeline', 'complete', 0, 0),
    ('o/r', 1, 'closing_issues', 'complete', 1, 1), ('o/r', 2, 'closing_issues', 'complete', 0, 0),
    ('o/r', 1, 'checks', 'complete', 3, 3),
    ('o/r', 1, 'review_comments', 'complete', 2, 2), ('o/r', 2, 'review_comments', 'complete', 0, 0);

INSERT INTO labels VALUES ('o/r', 1, 0, 'alpha', 'L_1', '000000'), ('o/r', 1, 1, 'zeta', 'L_2', 'ffffff');
INSERT INTO labels VALUES ('o/other', 1, 0, 'alpha', 'L_3', '000000');
INSERT INTO assignees VALUES ('o/r', 1, 0, 'cat'), ('o/r', 1, 1, 'dan');
INSERT INTO review_requests VALUES ('o/r', 1, 0, ''), ('o/r', 1, 1, 'o/team');
INSERT INTO files VALUES ('o/r', 1, 0, 'src/a.rs', 12, 3, 'MODIFIED');
INSERT INTO commits VALUES
    ('o/r', 1, 0, 'c1', '2024-09-30 00:00:00Z', '2024-09-30 01:00:00Z', 'First', 10, 1, 'Ann', 'ann'),
    ('o/r', 1, 1, 'c2', '2024-10-01 00:00:00Z', '2024-10-01 01:00:00Z', 'Second', 2, 2, NULL, NULL);
INSERT INTO reviews VALUES
    ('o/r', 1, 0, 'PRR_1', 'APPROVED', 'Good', 'bob', '2024-10-01 10:00:00Z', '2024-10-01 10:01:00Z',
     '2024-10-01 10:02:00Z', 'c2');
INSERT INTO review_threads VALUES
    ('o/r', 1, 0, 'PRRT_1', true, false, 'ann', 'src/a.rs', 7, 'complete', 2);
INSERT INTO review_comments VALUES
    ('o/r', 1, 'PRRT_1', 0, 'PRRC_1', 'Why?', 'bob', '2024-10-01 10:00:00Z', '2024-10-01 10:00:00Z', NULL),
    ('o/r', 1, 'PRRT_1', 1, 'PRRC_2', 'So.', NULL, '2024-10-01 11:00:00Z', '2024-10-01 11:30:00Z', 'PRRC_1');
INSERT INTO comments VALUES
    ('o/r', 1, 0, 'IC_1', 'Hello', 'ann', '2024-10-01 09:00:00Z', '2024-10-01 09:30:00Z', NULL);
INSERT INTO timeline_items VALUES
    ('o/r', 1, 0, 'PURC_1', 'PullRequestCommit', NULL, NULL, NULL, NULL, NULL, NULL, 'c1', NULL, NULL),
    ('o/r', 1, 1, 'IC_1', 'IssueComment', '2024-10-01 09:00:00Z', 'ann', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('o/r', 1, 2, 'LE_1', 'LabeledEvent', '2024-10-01 09:01:00Z', 'ann', 'alpha', NULL, NULL, NULL, NULL, NULL, NULL),
    ('o/r', 1, 3, 'AE_1', 'AssignedEvent', '2024-10-01 09:02:00Z', NULL, NULL, 'cat', NULL, NULL, NULL, NULL, NULL),
    ('o/r', 1, 4, 'HE_1', 'HeadRefForcePushedEvent', '2024-10-01 09:03:00Z', 'ann', NULL, NULL, 'c0', 'c2', NULL, NULL, NULL),
    ('o/r', 1, 5, 'ME_1', 'MilestonedEvent', '2024-10-01 09:04:00Z', 'bob', NULL, NULL, NULL, NULL, NULL, 'v4', NULL),
    ('o/r', 1, 6, 'CE_1', 'CrossReferencedEvent', '2024-10-01 09:05:00Z', 'bob', NULL, NULL, NULL, NULL, NULL, NULL,
     'https://github.com/o/r/issues/9'),
    ('o/r', 1, 7, '', 'PullRequestRevisionMarker', '2024-10-01 09:06:00Z', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO closing_issues VALUES ('o/r', 1, 0, 'I_9', 9, 'Broken', 'https://github.com/o/r/issues/9');
INSERT INTO check_runs
    (repository, number, head_ref_oid, id, kind, name, status, conclusion, started_at, completed_at, url,
     description, landed_at, superseded_at)
VALUES
    ('o/r', 1, 'c2', 'CR_1', 'CheckRun', 'build', 'COMPLETED', 'FAILURE', '2024-10-01 08:00:00Z',
     '2024-10-01 08:30:00Z', 'https://ci.example/1', NULL, '2024-10-04 00:00:00Z', NULL),
    ('o/r', 1, 'c2', 'CR_2', 'CheckRun', 'lint', 'IN_PROGRESS', NULL, '2024-10-01 08:00:00Z',
     NULL, NULL, NULL, '2024-10-04 00:00:00Z', NULL),
    ('o/r', 1, 'c2', 'SC_1', 'StatusContext', 'bors', 'SUCCESS', NULL, '2024-10-01 08:00:00Z',
     NULL, 'https://bors.example/1', 'Build succeeded', '2024-10-04 00:00:00Z', NULL),
    ('o/r', 1, 'c2', 'CR_0', 'CheckRun', 'build', 'COMPLETED', 'FAILURE', '2024-10-01 07:00:00Z',
     '2024-10-01 07:30:00Z', NULL, NULL, '2024-10-04 00:00:00Z', '2024-10-04 01:00:00Z'),
    ('o/r', 1, 'c1', 'CR_3', 'CheckRun', 'build', 'COMPLETED', 'SUCCESS', '2024-09-30 08:00:00Z',
     '2024-09-30 08:30:00Z', NULL, NULL, '2024-10-04 00:00:00Z', '2024-10-04 01:00:00Z');

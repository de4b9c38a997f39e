-- The pull requests as they were at a moment: who was open, and with which labels.
SELECT repository, number, state, title, label_names
FROM pull_request_versions
WHERE valid_from <= TIMESTAMPTZ '2026-03-01 12:00:15+00'
  AND (valid_to IS NULL OR valid_to > TIMESTAMPTZ '2026-03-01 12:00:15+00')
ORDER BY repository, number;

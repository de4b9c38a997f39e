-- Open pull requests that nobody has reviewed, longest waiting first.
SELECT number, title, author, created_at, url
FROM open_pull_requests AS open
ANTI JOIN (FROM reviews WHERE state IN ('APPROVED', 'CHANGES_REQUESTED', 'COMMENTED')) USING (repository, number)
WHERE NOT is_draft
ORDER BY created_at, number
LIMIT 20;

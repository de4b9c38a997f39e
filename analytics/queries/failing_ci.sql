-- Open pull requests whose CI fails, and which checks do.
SELECT repository, number, title, failing, last_completed_at
FROM ci_by_pull_request
WHERE failed > 0
ORDER BY last_completed_at DESC, number;

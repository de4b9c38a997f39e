-- Open pull requests by the review threads that are still to be resolved.
SELECT repository, number, title, count(*) AS unresolved, list(DISTINCT path ORDER BY path) AS paths
FROM review_threads
JOIN open_pull_requests USING (repository, number)
WHERE NOT is_resolved AND NOT is_outdated
GROUP BY repository, number, title
ORDER BY unresolved DESC, number;

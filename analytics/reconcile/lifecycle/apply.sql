-- Puts changed_findings in the place of the findings of the same identity, and what is news into the
-- history.
DELETE FROM findings USING changed_findings AS changed WHERE findings.id = changed.id;
INSERT INTO findings BY NAME SELECT * EXCLUDE (is_news) FROM changed_findings;
INSERT INTO finding_history
SELECT id, settings.now, status, attempts, reason
FROM changed_findings
CROSS JOIN settings
WHERE is_news;

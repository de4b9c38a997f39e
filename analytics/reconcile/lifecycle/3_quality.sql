-- A sample of each repository whose figures changed, or of which the last is an hour old; and of what is
-- older than two days, the last sample of each hour, for 400 days.
INSERT INTO quality BY NAME
SELECT standing.*, settings.now AS sampled_at
FROM repository_quality AS standing
CROSS JOIN settings
LEFT JOIN (SELECT DISTINCT ON (repository) * FROM quality ORDER BY repository, sampled_at DESC) AS newest
    USING (repository)
WHERE newest.sampled_at IS NULL
   OR newest.sampled_at <= settings.now - INTERVAL 1 HOUR
   OR (newest.sampled_at <= settings.now - INTERVAL 1 MINUTE AND (
       newest.known <> standing.known
       OR newest.landed <> standing.landed
       OR newest.score <> standing.score
       OR newest.completeness_percent <> standing.completeness_percent
   ));
DELETE FROM quality
WHERE sampled_at < (SELECT now - INTERVAL 400 DAY FROM settings)
   OR (sampled_at < (SELECT now - INTERVAL 2 DAY FROM settings)
       AND (repository, sampled_at) NOT IN (
           SELECT (repository, max(sampled_at))
           FROM quality
           GROUP BY repository, date_trunc('hour', sampled_at)
       ));

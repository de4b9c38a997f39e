-- Whose turn it is to be looked at by the rules that take turns: the pull requests whose numbers lie in the
-- range, and those that have an open finding of such a rule.
CREATE OR REPLACE TEMPORARY TABLE checked AS
SELECT repository, number FROM pull_request_contents
WHERE number BETWEEN getvariable('from_number') AND getvariable('to_number')
UNION
SELECT repository, number FROM pull_request_observations
WHERE number BETWEEN getvariable('from_number') AND getvariable('to_number')
UNION
SELECT findings.repository, findings.number
FROM findings
JOIN rules USING (rule)
WHERE findings.status <> 'closed' AND rules.is_rotating;

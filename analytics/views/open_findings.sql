-- What is found and not yet right again, with what its rule says of it.
-- comments from: findings, rules
CREATE OR REPLACE VIEW open_findings AS
SELECT findings.*, rules.is_gap, rules.remedy
FROM findings
JOIN rules USING (rule)
WHERE status IN ('open', 'repair_requested', 'escalated');
COMMENT ON VIEW open_findings IS 'Findings that are not right again: those with is_gap say that the mirror is not as GitHub is, the others are worth knowing.';

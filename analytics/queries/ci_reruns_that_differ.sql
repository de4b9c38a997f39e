-- Attempts of CI on one commit that ended otherwise than the attempt before.
SELECT repository, number, name, attempt, previous, coalesce(conclusion, status) AS ended
FROM ci_history
WHERE previous <> coalesce(conclusion, status)
ORDER BY repository, number, name, attempt;
